"""Data sets: how a folder is read, its audit, splits and records; synthetic photographs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, Union, Unpack

from rich.console import Console

from drsearch.api.access import Configs, GivenSettings, console_of, merged_settings, open_home
from drsearch.errors import DrsearchError
from drsearch.home import Home
from drsearch.settings import Settings, Value

if TYPE_CHECKING:
    import pandas as pd

    from drsearch.data.audit import Audit
    from drsearch.data.prepare import Prepared, UnusableData
    from drsearch.data.records import RecordSet
    from drsearch.datasets.description import DataSource, Grade
    from drsearch.datasets.read import Dataset
    from drsearch.release.blind_scores import BlindOutcome

GivenData = Union[str, Path, Sequence[str | Path], "Data"]
"""A folder of photographs with their labels, a file that says how it is read, several of these, or a `Data`."""


class ByHand(TypedDict, total=False):
    """What a user names by hand about one folder; what is left out is found by the layout of the folder.

    Attributes:
        labels: The table of labels, where the folder has no layout that is recognised: a file, or a DataFrame.
        image_column: The column that names the photograph, by its title, or by its number from 1 without titles.
        grade_column: The column that has the grade.
        patient_column: The column that names the patient.
        eye_column: The column that says which eye it is.
        edema_column: The column that has macular edema.
        quality_column: The column that says whether a photograph can be graded.
        split_column: The column that names the split.
        grades: The grade 0 to 4 of every text, `"ungradable"` or `"excluded"`.
        layout: Of several layouts that fit, the one that is meant.
        name: Of the data set.
    """

    labels: str | Path | pd.DataFrame
    image_column: str | int
    grade_column: str | int
    patient_column: str | int
    eye_column: str | int
    edema_column: str | int
    quality_column: str | int
    split_column: str | int
    grades: Mapping[str, Grade]
    layout: str
    name: str


@dataclass(frozen=True, repr=False)
class Data:
    """A prepared data set, from `drsearch.prepare`.

    Attributes:
        dataset: The photographs and labels, and how they were read.
        prepared: The record set, the audit, and how long they took.
        settings: The `data.*`, `task.*` and `images.*` settings that are not the defaults, for calls with this data.
        skip_bad: Whether photographs and labels that cannot be used are left out.
        contact_sheet: The page of `look`; None without it.
    """

    dataset: Dataset
    prepared: Prepared
    settings: Mapping[str, Value] = field(default_factory=dict)
    skip_bad: bool = False
    contact_sheet: Path | None = None

    @property
    def records(self) -> RecordSet:
        """The TFRecords with their manifest."""
        return self.prepared.records

    @property
    def audit(self) -> Audit:
        """What was noticed about the photographs and labels."""
        return self.prepared.audit

    @property
    def blind_baseline(self) -> BlindOutcome:
        """What colours and an 8 x 8 picture tell about the validation eyes; a model must be better than that.

        Computed when it is first asked for, and kept with the records.
        """
        from drsearch.release.blind_scores import blind_outcome

        return blind_outcome(self.records)

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
        return f"<Data {self.dataset.name}: {splits}; fingerprint {self.fingerprint[:12]}>"

    def _repr_html_(self) -> str:
        from drsearch.display.html import described_table

        findings = [f"{n} x {name.replace('_', ' ')}" for name, n in self.audit.counts().items() if n]
        return described_table(
            f"{self.dataset.place}, {self.audit.n_photographs} photographs",
            self.counts,
            f"Audit: {'; '.join(findings) or 'nothing found'}. Fingerprint {self.fingerprint[:12]}.",
        )


def prepare(
    data: GivenData,
    *,
    settings: GivenSettings = None,
    config: Configs = (),
    skip_bad: bool = False,
    look: bool = False,
    progress: bool | Console = True,
    **by_hand: Unpack[ByHand],
) -> Data:
    """Audit a data set, split it, and write TFRecords; what is there already is used again.

    `run_study` and `train` do this themselves. Call it alone to see what the audit says, and what the splits hold; to
    name columns by hand; or to pool several data sets. What it returns goes into the other functions as `data`.

    Args:
        data: The folder, in a layout that drsearch recognises (docs/layouts.md), or a file that `describe_data` wrote;
            several are pooled.
        settings: Settings by name, of which `data.*`, `task.*` and `images.*` count here.
        config: Gin files.
        skip_bad: Leave out photographs and labels that cannot be used. Without it, one of them is an error, and
            nothing is written.
        look: Write a page that shows photographs with their crops, the strange ones first, also if the data is refused.
        progress: Show a bar; or the Rich console that shows it.
        **by_hand: Columns, grades and more that drsearch does not recognise, see `ByHand`.

    Returns:
        The data set, with its audit and counts.

    Raises:
        UnusableData: If a photograph or label cannot be used; `.audit` has all of them.
        DataError: If the folder holds no data set, or can be read in several ways.
        SettingsError: If a setting is unknown or out of range.

    Example:
        >>> import drsearch
        >>> drawn = drsearch.synthesize("eyes", images=60, progress=False)
        >>> drsearch.prepare("eyes", settings={"images.image_px": 64}, progress=False)
        <Data eyes: 38 train, 10 validation, 12 test; fingerprint ...>
    """
    from drsearch.data.prepare import UnusableData
    from drsearch.data.prepare import prepare as write_records
    from drsearch.display.data_tables import print_reading
    from drsearch.display.output import counting

    home, out = open_home(), console_of(progress)
    dataset, settings = dataset_and_settings(data, settings, home, by_hand)
    skip_bad = skip_bad or (isinstance(data, Data) and data.skip_bad)
    chosen = merged_settings(settings, config)
    print_reading(out, dataset)
    try:
        with counting(out, "photographs") as count:
            prepared = write_records(dataset, chosen, home, skip_bad=skip_bad, on_photograph=count)
    except UnusableData as refused:
        if look:
            _write_contact_sheet(contact_sheet_of(refused), dataset, refused.audit, None, out)
        raise
    page = home.contact_sheets / f"{prepared.records.data_fingerprint}.html" if look else None
    if page is not None:
        _write_contact_sheet(page, dataset, prepared.audit, prepared.records, out)
    return Data(dataset, prepared, own_settings(chosen), skip_bad, page)


def contact_sheet_of(refused: UnusableData) -> Path:
    """The page of `look` where the data is refused: beside the audit."""
    return refused.audit_path.with_suffix(".html")


def _write_contact_sheet(page: Path, dataset: Dataset, audit: Audit, records: RecordSet | None, out: Console) -> None:
    from drsearch.data.splits import SPLITS
    from drsearch.display.contact_sheet import SheetPhotograph, write_contact_sheet
    from drsearch.display.output import counting

    recorded = {eye.name: eye for eye in records.eyes(*SPLITS)} if records is not None else {}
    photographs = []
    for photograph in dataset.photographs:
        words = [] if photograph.grade is None else [f"grade {photograph.grade}"]
        if eye := recorded.get(photograph.name):
            words += [eye.split, f"quality {eye.quality.score:.2f}"]
        photographs.append(SheetPhotograph(photograph.file, photograph.path, ", ".join(words)))
    with counting(out, "contact sheet") as count:
        write_contact_sheet(page, dataset.name, photographs, audit, on_photograph=count)


def describe_data(data: GivenData, **by_hand: Unpack[ByHand]) -> DataSource:
    """How a data set is read: its tables, columns, folders and grades; no photograph is opened.

    Args:
        data: As for `prepare`.
        **by_hand: Columns, grades and more that drsearch does not recognise, see `ByHand`.

    Returns:
        The description; its `to_toml()` is a file that can be edited and given to `prepare`.

    Raises:
        DataError: If the folder holds no data set, or can be read in several ways.

    Example:
        >>> import drsearch
        >>> drsearch.describe_data("eyes").sets[0].layout
        'flat'
    """
    return dataset_and_settings(data, None, open_home(), by_hand)[0].source


def _table_of(labels: str | Path | pd.DataFrame, home: Home) -> str:
    """The file of a table; a DataFrame is written to a file, so that every later call can read it again."""
    if isinstance(labels, str | Path):
        return str(labels)
    import hashlib

    from drsearch.files import write_whole

    text = labels.to_csv(index=False).encode()
    path = home.labels / f"{hashlib.sha256(text).hexdigest()[:16]}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, text, replace=True)
    return str(path)


def dataset_and_settings(
    data: GivenData, settings: GivenSettings, home: Home, by_hand: ByHand | None = None
) -> tuple[Dataset, GivenSettings]:
    """The photographs with their labels, and settings with those on top of which a `Data` was prepared.

    Args:
        data: What the user gave.
        settings: What the user gave.
        home: Left out where it lies in the data set's folder.
        by_hand: What the user named by hand.

    Raises:
        DataError: If the data set cannot be read.
    """
    from drsearch.datasets.given import Naming, open_dataset, read_again

    if not isinstance(data, Data):
        texts = {name: value if name == "grades" else str(value) for name, value in (by_hand or {}).items()}
        if by_hand and "labels" in by_hand:
            texts["labels"] = _table_of(by_hand["labels"], home)
        naming = Naming(**texts)  # type: ignore[arg-type]  # a mapping of grades, and texts
        paths = [data] if isinstance(data, str | Path) else list(data)
        return open_dataset([Path(path) for path in paths], naming, home.path), settings
    if by_hand:
        raise DrsearchError(f"{', '.join(by_hand)}: {data!r} is read already; give its folder to name columns by hand.")
    dataset = read_again(data.dataset, home.path)
    if isinstance(settings, Settings):
        return dataset, settings
    return dataset, {**data.settings, **(settings or {})}


def own_settings(settings: Settings) -> dict[str, Value]:
    """The `data.*`, `task.*` and `images.*` settings that differ from the defaults."""
    defaults = Settings().flat()
    return {
        name: value
        for name, value in settings.flat().items()
        if name.startswith(("data.", "task.", "images.")) and value != defaults[name]
    }


def synthesize(
    folder: str | Path, images: int = 100, seed: int = 0, layout: str = "flat", *, progress: bool | Console = True
) -> dict[int, int]:
    """Draw synthetic eyes with lesions, to try drsearch without data.

    Args:
        folder: A new folder. In the flat layout it gets `images/train`, `labels/train.csv`, and the boxes of the
            lesions; in another one the folders, names and tables with which that data set is published.
        images: Number of photographs; at least 24 in a layout other than the flat one.
        seed: The same seed draws the same photographs.
        layout: `flat`, or the layout of a public data set: docs/layouts.md lists them.
        progress: Show a bar; or the Rich console that shows it.

    Returns:
        Photographs per grade; those that the layout has without a grade, or as ungradable, are not counted.

    Raises:
        DrsearchError: If the folder exists and is not empty, or if there is no such layout.

    Example:
        >>> import drsearch
        >>> sum(drsearch.synthesize("few-eyes", images=10, seed=1, progress=False).values())
        10
    """
    from drsearch.data.mockups import synthesize_layout
    from drsearch.data.synthetic import synthesize as draw
    from drsearch.datasets.mockups import FLAT
    from drsearch.display.output import counting
    from drsearch.grades import GRADES

    out = Path(folder).expanduser()
    grades: Sequence[object]
    with counting(console_of(progress), "photographs") as count:
        if layout == FLAT:
            grades = draw(out, images, seed, on_photograph=count)
        else:
            drawn = synthesize_layout(out, layout, images, seed, on_photograph=count)
            grades = [photograph.grade for photograph in drawn.photographs]
    return {grade: grades.count(grade) for grade in GRADES}
