"""doctor: does this machine have what a study needs?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from drsearch.api.access import storage_url
from drsearch.home import Home
from drsearch.masking import masked
from drsearch.settings import Settings
from drsearch.tracking.availability import set_up_client

if TYPE_CHECKING:
    import pandas as pd

    from drsearch.study.checkup import Check


@dataclass(frozen=True, repr=False)
class Checkup:
    """What `drsearch.doctor` found.

    Attributes:
        checks: One per thing that a study needs, each with its state (`ok`, `warning`, `fails`), text and remedy.
    """

    checks: tuple[Check, ...]

    @property
    def failed(self) -> tuple[Check, ...]:
        """The checks that fail: with any, something will not work."""
        return tuple(check for check in self.checks if check.state == "fails")

    @property
    def table(self) -> pd.DataFrame:
        """One row per check: state, text, remedy."""
        import pandas as pd

        return pd.DataFrame([check.to_json() for check in self.checks]).set_index("name")

    def to_json(self) -> dict[str, Any]:
        """What `drsearch doctor --json` prints."""
        return {"ok": not self.failed, "checks": [check.to_json() for check in self.checks]}

    def __repr__(self) -> str:
        states = [check.state for check in self.checks]
        return f"<Checkup: {', '.join(f'{states.count(state)} {state}' for state in dict.fromkeys(states))}>"

    def _repr_html_(self) -> str:
        from drsearch.display.html import described_table

        return described_table(repr(self).strip("<>"), self.table)


def doctor(data: str | Path | None = None, *, storage: str = "") -> Checkup:
    """Check that this machine has what a study needs.

    Libraries and their versions, what TensorFlow sees, cores, memory, disk, DRSEARCH_HOME, MLflow, the study database,
    and the clocks of their servers. Nothing is changed.

    Args:
        data: Photographs that a study would use: are they recognised, and is there space for their records?
        storage: Address of the study database. Default: DRSEARCH_STORAGE, or SQLite in DRSEARCH_HOME.

    Returns:
        The checks; `failed` is empty if everything works.

    Example:
        >>> import drsearch
        >>> drsearch.doctor("eyes").failed
        ()
    """
    return Checkup(tuple(checks(data, storage)))


def checks(data: str | Path | None, storage: str) -> Iterator[Check]:
    """The checks of `doctor` as they end, for who shows them one by one; passwords are masked."""
    from dataclasses import replace

    from drsearch.study.checkup import check_machine

    set_up_client()
    home = Home.from_environment()
    for check in check_machine(home, storage_url(storage, home), Settings(), [Path(data)] if data else []):
        yield replace(check, text=masked(check.text), remedy=masked(check.remedy))
