"""Folders of photographs: audit them, split them, write records; draw synthetic ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from drsearch.api.access import Configs, GivenSettings, console_of, merged_settings, open_home
from drsearch.settings import Settings, Value

if TYPE_CHECKING:
    import pandas as pd

    from drsearch.data.audit import Audit
    from drsearch.data.prepare import Prepared
    from drsearch.data.records import RecordSet


@dataclass(frozen=True, repr=False)
class Data:
    """A prepared data set, from `drsearch.prepare`.

    Attributes:
        folder: The photographs and labels.
        prepared: The record set, the audit, and how long they took.
        settings: The `data.*`, `task.*` and `images.*` settings that are not the defaults, for calls with this data.
        skip_bad: Whether photographs and labels that cannot be used are left out.
    """

    folder: Path
    prepared: Prepared
    settings: Mapping[str, Value] = field(default_factory=dict)
    skip_bad: bool = False

    @property
    def records(self) -> RecordSet:
        """The TFRecords with their manifest."""
        return self.prepared.records

    @property
    def audit(self) -> Audit:
        """What was noticed about the photographs and labels."""
        return self.prepared.audit

    @property
    def fingerprint(self) -> str:
        """The SHA-256 digest of photographs, grades and split: the same for the same data on every machine."""
        return self.records.data_fingerprint

    @property
    def counts(self) -> pd.DataFrame:
        """Photographs per split (rows), in all, per class and per grade (columns)."""
        import pandas as pd

        rows = {
            split: {
                "photographs": counts["n"],
                "NRDR": counts["NRDR"],
                "RDR": counts["RDR"],
                **{f"grade {grade}": n for grade, n in counts["grades"].items()},
            }
            for split, counts in self.records.counts.items()
        }
        return pd.DataFrame.from_dict(rows, orient="index").rename_axis("split")

    @property
    def quality(self) -> pd.DataFrame:
        """Quality of every recorded photograph (rows, the worst first): split, grade, score, its measures, reason."""
        import pandas as pd

        from drsearch.data.quality import MEASURES
        from drsearch.data.splits import SPLITS

        rows = {
            eye.name: {
                "split": eye.split,
                "grade": eye.grade,
                "score": eye.quality.score,
                **dict(zip(MEASURES, eye.quality.values, strict=True)),
                "reason": eye.quality.reason,
            }
            for eye in self.records.eyes(*SPLITS)
        }
        table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("photograph")
        return table.sort_values("score", kind="stable")

    def __repr__(self) -> str:
        splits = ", ".join(f"{counts['n']} {split}" for split, counts in self.records.counts.items())
        return f"<Data {self.folder.name}: {splits}; fingerprint {self.fingerprint[:12]}>"

    def _repr_html_(self) -> str:
        from drsearch.display.html import described_table

        findings = [f"{n} x {name.replace('_', ' ')}" for name, n in self.audit.counts().items() if n]
        return described_table(
            f"{self.folder}, {self.audit.n_photographs} photographs",
            self.counts,
            f"Audit: {'; '.join(findings) or 'nothing found'}. Fingerprint {self.fingerprint[:12]}.",
        )


def prepare(
    data: str | Path | Data,
    *,
    settings: GivenSettings = None,
    config: Configs = (),
    skip_bad: bool = False,
    progress: bool | Console = True,
) -> Data:
    """Audit a folder of photographs, split it, and write TFRecords; what is there already is used again.

    `run_study` and `train` do this themselves. Call it alone to see what the audit says, and what the splits hold.

    Args:
        data: The folder: IDRiD as published, or a flat one (README.md).
        settings: Settings by name, of which `data.*`, `task.*` and `images.*` count here.
        config: Gin files.
        skip_bad: Leave out photographs and labels that cannot be used. Without it, one of them is an error, and
            nothing is written.
        progress: Show a bar; or the Rich console that shows it.

    Returns:
        The data set, with its audit and counts.

    Raises:
        UnusableData: If a photograph or label cannot be used; `.audit` has all of them.
        DataError: If the folder holds no data set.
        SettingsError: If a setting is unknown or out of range.

    Example:
        >>> import drsearch
        >>> grades = drsearch.synthesize("eyes", images=60)
        >>> drsearch.prepare("eyes", settings={"images.image_px": 64})
        <Data eyes: 38 train, 10 validation, 12 test; fingerprint ...>
    """
    from drsearch.data.prepare import prepare as write_records
    from drsearch.display.output import counting

    home, out = open_home(), console_of(progress)
    folder, settings = folder_and_settings(data, settings)
    skip_bad = skip_bad or (isinstance(data, Data) and data.skip_bad)
    chosen = merged_settings(settings, config)
    with counting(out, "photographs") as count:
        prepared = write_records(folder, chosen, home, skip_bad=skip_bad, on_photograph=count)
    return Data(folder, prepared, own_settings(chosen), skip_bad)


def folder_and_settings(data: str | Path | Data, settings: GivenSettings) -> tuple[Path, GivenSettings]:
    """The folder of photographs, and settings with those on top of which a `Data` was prepared."""
    if not isinstance(data, Data):
        return Path(data).expanduser(), settings
    if isinstance(settings, Settings):
        return data.folder, settings
    return data.folder, {**data.settings, **(settings or {})}


def own_settings(settings: Settings) -> dict[str, Value]:
    """The `data.*`, `task.*` and `images.*` settings that differ from the defaults."""
    defaults = Settings().flat()
    return {
        name: value
        for name, value in settings.flat().items()
        if name.startswith(("data.", "task.", "images.")) and value != defaults[name]
    }


def synthesize(folder: str | Path, images: int = 100, seed: int = 0, layout: str = "flat") -> dict[int, int]:
    """Draw synthetic eyes with lesions, to try drsearch without data.

    Args:
        folder: A new folder. In the flat layout it gets `images/train`, `labels/train.csv`, and the boxes of the
            lesions; in another one the folders, names and tables with which that data set is published.
        images: Number of photographs; at least 24 in a layout other than the flat one.
        seed: The same seed draws the same photographs.
        layout: `flat`, or the layout of a public data set: docs/data.md lists them.

    Returns:
        Photographs per grade; those that the layout has without a grade, or as ungradable, are not counted.

    Raises:
        DrsearchError: If the folder exists and is not empty, or if there is no such layout.

    Example:
        >>> import drsearch
        >>> sum(drsearch.synthesize("few-eyes", images=10, seed=1).values())
        10
    """
    from drsearch.data.mockups import synthesize_layout
    from drsearch.data.synthetic import synthesize as draw
    from drsearch.datasets.mockups import FLAT
    from drsearch.grades import GRADES

    out = Path(folder).expanduser()
    grades: Sequence[object]
    if layout == FLAT:
        grades = draw(out, images, seed)
    else:
        grades = [photograph.grade for photograph in synthesize_layout(out, layout, images, seed).photographs]
    return {grade: grades.count(grade) for grade in GRADES}
