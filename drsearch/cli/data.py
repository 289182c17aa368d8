"""Commands on photographs and on the home: describe, prepare, synthesize, clean."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from drsearch.cli.app import command
from drsearch.cli.completion import among
from drsearch.cli.options import Assignments, Configs, Json, LeastQuality, SkipBad, StorageUrl, Yes, given_settings
from drsearch.cli.output import confirmed, console, print_json, progress_on
from drsearch.datasets.mockups import FLAT, LAYOUTS
from drsearch.display.output import terminal, working

if TYPE_CHECKING:
    from collections.abc import Sequence

    from drsearch.api.data import Data
    from drsearch.study.cleaning import Kept


Folders = Annotated[
    list[Path],
    typer.Argument(
        metavar="FOLDER", help="Photographs and labels; or a file of `drsearch describe`. Several are pooled."
    ),
]
Labels = Annotated[
    str, typer.Option("--labels", metavar="FILE", help="The table of labels: CSV of any kind, XLS or XLSX.")
]
ImageColumn = Annotated[
    str,
    typer.Option(
        "--image-column", metavar="TITLE", help="Names the photograph. In a table without titles: its number from 1."
    ),
]
GradeColumn = Annotated[str, typer.Option("--grade-column", metavar="TITLE", help="Has the grade.")]
PatientColumn = Annotated[str, typer.Option("--patient-column", metavar="TITLE", help="Names the patient.")]
EyeColumn = Annotated[str, typer.Option("--eye-column", metavar="TITLE", help="Says left or right.")]
EdemaColumn = Annotated[str, typer.Option("--edema-column", metavar="TITLE", help="Has macular edema: 1, yes or true.")]
QualityColumn = Annotated[
    str,
    typer.Option("--quality-column", metavar="TITLE", help="Says 0, no, bad or the like where nobody could grade it."),
]
SplitColumn = Annotated[str, typer.Option("--split-column", metavar="TITLE", help="Says train, validation or test.")]
Grades = Annotated[
    str,
    typer.Option(
        "--grades", metavar="TEXT=GRADE,...", help="What texts mean: 0 to 4, ungradable or excluded. 'No DR=0,Mild=1'."
    ),
]
Layout = Annotated[str, typer.Option("--layout", metavar="NAME", help="Of several layouts that fit, the one meant.")]
Name = Annotated[str, typer.Option("--name", metavar="NAME", help="Of the data set. Default: that of its folder.")]


@command("Data")
def describe(
    data: Folders,
    labels: Labels = "",
    image_column: ImageColumn = "",
    grade_column: GradeColumn = "",
    patient_column: PatientColumn = "",
    eye_column: EyeColumn = "",
    edema_column: EdemaColumn = "",
    quality_column: QualityColumn = "",
    split_column: SplitColumn = "",
    grades: Grades = "",
    layout: Layout = "",
    name: Name = "",
    as_json: Json = False,
) -> None:
    """Say how a folder is read, as a file that can be edited.

    The file has the tables, their columns, the grades and how patients are known; docs/data.md explains every key.
    Give it to prepare, or as --data to every other command, in the place of the folder.

    Example:
        drsearch describe ~/aptos2019 > aptos.toml
    """
    from drsearch.api.data import describe_data
    from drsearch.datasets.given import parsed_grades

    with working(progress_on(terminal(stderr=True)), "reading tables and names"):
        source = describe_data(
            data,
            labels=labels,
            image_column=image_column,
            grade_column=grade_column,
            patient_column=patient_column,
            eye_column=eye_column,
            edema_column=edema_column,
            quality_column=quality_column,
            split_column=split_column,
            grades=parsed_grades(grades),
            layout=layout,
            name=name,
        )
    if not as_json:
        print(source.to_toml(), end="")  # for a file, not for eyes: no wrapping, no colours
    print_json(as_json, {"name": source.name, "words": [each.words for each in source.sets], "toml": source.to_toml()})


@command("Data")
def prepare(
    data: Folders,
    labels: Labels = "",
    image_column: ImageColumn = "",
    grade_column: GradeColumn = "",
    patient_column: PatientColumn = "",
    eye_column: EyeColumn = "",
    edema_column: EdemaColumn = "",
    quality_column: QualityColumn = "",
    split_column: SplitColumn = "",
    grades: Grades = "",
    layout: Layout = "",
    name: Name = "",
    config: Configs = [],  # noqa: B006  # typer wants the default itself
    set_: Assignments = [],  # noqa: B006
    skip_bad: SkipBad = False,
    least_quality: LeastQuality = None,
    look: Annotated[
        bool,
        typer.Option(
            "--look", help="Write a page that shows the photographs with their crops, the strange ones first."
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Audit a folder of photographs, split it, write TFRecords.

    The layouts of public data sets are recognised (docs/layouts.md); of any other folder name the table and its
    columns. run-study and train prepare first, too. Run it alone to see what the audit finds. Nothing is written when a
    photograph or a label cannot be used; --skip-bad leaves them out.

    Example:
        drsearch prepare ~/IDRiD --set images.image_px=256
        drsearch prepare ~/clinic --labels grades.xlsx --image-column File --grade-column ICDR
    """
    from drsearch.api.data import contact_sheet_of
    from drsearch.api.data import prepare as make_records
    from drsearch.data.prepare import UnusableData
    from drsearch.datasets.given import parsed_grades
    from drsearch.display.data_tables import print_audit, print_counts

    out = console(as_json)
    try:
        dataset = make_records(
            data,
            labels=labels,
            image_column=image_column,
            grade_column=grade_column,
            patient_column=patient_column,
            eye_column=eye_column,
            edema_column=edema_column,
            quality_column=quality_column,
            split_column=split_column,
            grades=parsed_grades(grades),
            layout=layout,
            name=name,
            settings=given_settings(set_, least_quality),
            config=config,
            skip_bad=skip_bad,
            look=look,
            progress=progress_on(out),
        )
    except UnusableData as refused:
        print_audit(out, refused.audit, skip_bad)
        page = contact_sheet_of(refused) if look else None
        if page is not None:
            out.print(f"photographs with their crops: {page}", soft_wrap=True, markup=False)
        values = {"refused": str(refused), "audit": str(refused.audit_path), "contact_sheet": page and str(page)}
        print_json(as_json, values)
        raise
    print_audit(out, dataset.audit, skip_bad)
    print_counts(out, dataset.prepared)
    out.print(dataset.blind_baseline.text, soft_wrap=True, markup=False)
    if not dataset.dataset.given:
        out.print(f"other commands read it in this way by --data {dataset.records.description_path}", soft_wrap=True)
    if dataset.contact_sheet is not None:
        out.print(
            f"photographs with their crops: {dataset.contact_sheet}; it goes to MLflow with the studies that begin or "
            "resume on this data",
            soft_wrap=True,
            markup=False,
        )
    print_json(as_json, _prepared_json(dataset))


@command("Data")
def synthesize(
    out_folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A new folder.")],
    images: Annotated[int, typer.Option("--images", metavar="N", min=1, help="Number of photographs.")] = 100,
    seed: Annotated[
        int, typer.Option("--seed", metavar="N", min=0, help="The same seed draws the same photographs.")
    ] = 0,
    layout: Annotated[
        str,
        typer.Option(
            "--layout",
            metavar="NAME",
            autocompletion=among(FLAT, *LAYOUTS),
            help=f"With the folders, names and tables of this data set: {', '.join((FLAT, *LAYOUTS))}.",
        ),
    ] = FLAT,
    as_json: Json = False,
) -> None:
    """Draw eyes with lesions, to try drsearch without data.

    The folder has grades 0 to 4 and the boxes of the lesions. With --layout it has the folders, names and tables of a
    public data set, to try a loader before the data is there.

    Example:
        drsearch synthesize eyes --images 200
        drsearch synthesize mock-aptos --layout aptos
    """
    from drsearch.api.data import synthesize as draw

    out = console(as_json)
    counts = draw(out_folder, images, seed, layout, progress=progress_on(out))
    shown = ", ".join(f"{n} of grade {grade}" for grade, n in counts.items())
    if images > sum(counts.values()):
        shown += f", {images - sum(counts.values())} without a grade"
    out.print(f"{images} photographs in {out_folder}: {shown}")
    grades = {str(grade): n for grade, n in counts.items()}
    print_json(as_json, {"folder": str(out_folder), "images": images, "seed": seed, "layout": layout, "grades": grades})


@command("Data")
def clean(yes: Yes = False, storage: StorageUrl = "", as_json: Json = False) -> None:
    """Show what lies in DRSEARCH_HOME; delete what can be remade.

    It shows what can go, and asks. Decoded images, features, checkpoints of trainings that have ended, what a killed
    preparation has read, and records that no study and no registered version uses can go; everything that a study needs
    to go on stays.

    Example:
        drsearch clean
    """
    from drsearch.api.clean import clean as clean_home
    from drsearch.display.data_tables import print_kept

    out = console(as_json)

    def confirm(found: "Sequence[Kept]") -> bool:
        print_kept(out, found)
        return any(each.unneeded for each in found) and (yes or confirmed(out, "Delete what can go?"))

    cleaning = clean_home(confirm, storage=storage)
    if cleaning.deleted_bytes:
        out.print(f"{cleaning.deleted_bytes / 1e6:,.1f} MB deleted")
    elif cleaning.unneeded_bytes:
        out.print("nothing was deleted; --yes deletes what can go without asking.")
    print_json(as_json, cleaning.to_json())


def _prepared_json(dataset: "Data") -> dict[str, Any]:
    records = dataset.records
    return {
        "counts": records.counts,
        "source_bytes": records.source_bytes,
        "record_bytes": records.record_bytes,
        "duplicates": len(dataset.audit.duplicates),
        "unreadable": len(dataset.audit.unreadable),
        "findings": dataset.audit.counts(),
        "blind_baseline": dataset.blind_baseline.to_json(),
        "seconds": round(dataset.prepared.seconds, 3),
        "reused": dataset.prepared.reused,
        "records": str(records.folder),
        "audit": str(records.audit_path),
        "description": str(records.description_path),
        "contact_sheet": str(dataset.contact_sheet) if dataset.contact_sheet else None,
        "fingerprint": records.fingerprint,
    }
