"""clean: what lies in the home, and deletes what is made again when it is wanted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from drsearch.api.access import open_home, open_studies, storage_url

if TYPE_CHECKING:
    import pandas as pd

    from drsearch.study.cleaning import Kept


@dataclass(frozen=True, repr=False)
class Cleaning:
    """What `drsearch.clean` found and deleted.

    Attributes:
        found: One item per kind of files, as they were before.
        deleted_bytes: Bytes that were deleted.
    """

    found: tuple[Kept, ...]
    deleted_bytes: int = 0

    @property
    def unneeded_bytes(self) -> int:
        """Bytes that could go."""
        return sum(each.unneeded_bytes for each in self.found)

    @property
    def table(self) -> pd.DataFrame:
        """One row per kind: bytes, bytes that can go, the paths that can go, why."""
        import pandas as pd

        return pd.DataFrame([each.to_json() for each in self.found]).set_index("kind")

    def to_json(self) -> dict[str, Any]:
        """What `drsearch clean --json` prints."""
        return {"found": [each.to_json() for each in self.found], "deleted_bytes": self.deleted_bytes}

    def __repr__(self) -> str:
        return f"<Cleaning: {self.unneeded_bytes / 1e6:.1f} MB can go, {self.deleted_bytes / 1e6:.1f} MB deleted>"

    def _repr_html_(self) -> str:
        from drsearch.display.html import described_table

        return described_table(repr(self).strip("<>"), self.table)


def clean(confirm: Callable[[Sequence[Kept]], bool] = lambda _: False, *, storage: str = "") -> Cleaning:
    """Show what takes space in DRSEARCH_HOME, and delete what is made again when it is wanted.

    Deleted are decoded images, the features of frozen backbones, checkpoints of trainings that have ended, and records
    that no study and no registered version uses and whose photographs are still there. Everything that a study needs to
    go on stays.

    Args:
        confirm: Called with what there is; nothing is deleted unless it returns True.
        storage: Address of the study database. Default: DRSEARCH_STORAGE, or SQLite in DRSEARCH_HOME.

    Returns:
        What there was, and how much of it was deleted.

    Example:
        >>> import drsearch
        >>> drsearch.clean().unneeded_bytes > 0
        True
    """
    from drsearch.study.cleaning import find_kept, remove

    home = open_home()
    is_there = storage_url(storage, home) != home.storage_url or (home.path / "studies.db").exists()
    studies = open_studies(storage, home, read_only=True) if is_there else None
    found = tuple(find_kept(studies, home))
    return Cleaning(found, remove(found, home) if confirm(found) else 0)
