"""Commands on photographs: prepare, synthesize."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from drsearch.cli.app import command
from drsearch.cli.options import Assignments, Configs, Json, SkipBad
from drsearch.cli.output import console, counting, print_json, print_lines
from drsearch.cli.tables import column, table
from drsearch.home import Home

if TYPE_CHECKING:
    from drsearch.data.audit import Audit
    from drsearch.data.prepare import Prepared


@command("Data")
def prepare(
    data: Annotated[
        Path,
        typer.Argument(metavar="FOLDER", help="Photographs and labels: IDRiD as published, or flat (README.md)."),
    ],
    config: Configs = [],  # noqa: B006  # typer wants the default itself
    set_: Assignments = [],  # noqa: B006
    skip_bad: SkipBad = False,
    as_json: Json = False,
) -> None:
    """Audit a folder of photographs, split it, and write TFRecords.

    run-study and train do this first, too. Run it alone to see what the audit finds. Nothing is written when a
    photograph or a label cannot be used; --skip-bad leaves them out.

    Example:
        drsearch prepare ~/IDRiD --set images.image_px=256
    """
    from drsearch import config as gin_files

    out = console(as_json)
    settings = gin_files.load(config, set_)
    from drsearch.data.prepare import UnusableData
    from drsearch.data.prepare import prepare as make

    try:
        with counting(out, "photographs") as count:
            made = make(data, settings, Home.from_environment(), skip_bad=skip_bad, on_photograph=count)
    except UnusableData as refused:
        print_audit(out, refused.audit, skip_bad)
        print_json(as_json, {"refused": str(refused), "audit": str(refused.audit_path)})
        raise
    print_audit(out, made.audit, skip_bad)
    print_counts(out, made)
    print_json(as_json, _prepared_json(made))


@command("Data")
def synthesize(
    out_folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A new folder.")],
    images: Annotated[int, typer.Option("--images", metavar="N", min=1, help="Number of photographs.")] = 100,
    seed: Annotated[
        int, typer.Option("--seed", metavar="N", min=0, help="The same seed draws the same photographs.")
    ] = 0,
    as_json: Json = False,
) -> None:
    """Draw synthetic eyes with lesions, to try drsearch without data.

    The folder has a train and a test split, grades 0 to 4, and the boxes of the lesions.

    Example:
        drsearch synthesize eyes --images 200
    """
    from drsearch.data.synthetic import synthesize as draw
    from drsearch.grades import GRADES

    out = console(as_json)
    grades = draw(out_folder, images, seed)
    counts = {str(grade): grades.count(grade) for grade in GRADES}
    shown = ", ".join(f"{n} of grade {grade}" for grade, n in counts.items())
    out.print(f"{images} photographs in {out_folder}: {shown}")
    print_json(as_json, {"folder": str(out_folder), "images": images, "seed": seed, "grades": counts})


_N_NAMED = 8


def print_audit(out: Console, audit: "Audit", skipped: bool) -> None:
    """The findings as a table; every name stands in the file of the audit."""
    rows = [
        ("cannot be read whole", [f"{name}: {reason}" for name, reason in audit.unreadable]),
        ("no retina that can be graded", [f"{name}: {reason}" for name, reason in audit.no_retina]),
        ("grade not 0 to 4", [f"{name}: {text!r}" for name, text in audit.invalid_grade]),
        ("label without photograph", list(audit.label_without_photograph)),
        ("photograph without label", list(audit.unlabelled)),
        ("the same picture", [_same(found.files, found.grades) for found in audit.duplicates]),
        ("of these, graded differently", [_same(found.files, found.grades) for found in audit.contradicting]),
        ("left out", [f"{name}: {reason}" for name, reason in audit.left_out]),
    ]
    table = Table(
        "finding", "count", "files", title=f"audit of {audit.n_photographs} photographs", title_justify="left"
    )
    for what, names in rows:
        if names:
            table.add_row(what, str(len(names)), escape("\n".join(_first(names))))
    if table.row_count:
        out.print(table)
    else:
        out.print(f"audit of {audit.n_photographs} photographs: nothing found")
    if audit.patients:
        out.print(f"{audit.patients} patients have several photographs, by {audit.patients_by}: each is on one side")
    if audit.not_used:
        out.print("\n  ".join(["not used:", *_first(audit.not_used)]), markup=False, soft_wrap=True)
    if skipped and audit.bad:
        out.print(f"gone on without {len(audit.bad)} of them (--skip-bad)")


def _first(names: Sequence[str]) -> list[str]:
    """The first few, and a line that says how many more there are."""
    more = [f"... and {len(names) - _N_NAMED} more in the file of the audit"] if len(names) > _N_NAMED else []
    return [*names[:_N_NAMED], *more]


def _same(files: tuple[str, ...], grades: tuple[Any, ...]) -> str:
    return " = ".join(f"{name} (grade {grade})" for name, grade in zip(files, grades, strict=True))


def print_counts(out: Console, made: "Prepared") -> None:
    """How many photographs of which class and grade each split has, and what they take on disk."""
    records = made.records
    counts = list(records.counts.values())
    columns = [
        column("split", list(records.counts)),
        column("photographs", [str(each["n"]) for each in counts], "right"),
    ]
    columns += [column(name, [str(each[name]) for each in counts], "right") for name in ("NRDR", "RDR")]
    columns += [column(f"grade {i}", [str(each["grades"][str(i)]) for each in counts], "right") for i in range(5)]
    print_lines(out, table(columns))
    per_photograph = records.record_bytes / max(1, sum(counts["n"] for counts in records.counts.values())) / 1000
    done = "reused" if made.reused else f"written in {made.seconds:.1f} s"
    out.print(
        f"{records.source_bytes / 1e6:.1f} MB of photographs became {records.record_bytes / 1e6:.1f} MB of "
        f"records ({per_photograph:.1f} kB each), {done}: {made.records.folder}",
        soft_wrap=True,
    )


def _prepared_json(made: "Prepared") -> dict[str, Any]:
    records = made.records
    return {
        "counts": records.counts,
        "source_bytes": records.source_bytes,
        "record_bytes": records.record_bytes,
        "duplicates": len(made.audit.duplicates),
        "unreadable": len(made.audit.unreadable),
        "findings": made.audit.counts(),
        "seconds": round(made.seconds, 3),
        "reused": made.reused,
        "records": str(records.folder),
        "audit": str(records.audit_path),
        "fingerprint": records.fingerprint,
    }
