"""Commands on photographs: prepare, synthesize."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from drsearch.cli.app import command
from drsearch.cli.options import Assignments, Configs, Json, LeastQuality, SkipBad, given_settings
from drsearch.cli.output import console, print_json
from drsearch.datasets.mockups import FLAT, LAYOUTS

if TYPE_CHECKING:
    from drsearch.api.data import Data


@command("Data")
def prepare(
    data: Annotated[
        Path,
        typer.Argument(metavar="FOLDER", help="Photographs and labels: IDRiD as published, or flat (README.md)."),
    ],
    config: Configs = [],  # noqa: B006  # typer wants the default itself
    set_: Assignments = [],  # noqa: B006
    skip_bad: SkipBad = False,
    least_quality: LeastQuality = None,
    as_json: Json = False,
) -> None:
    """Audit a folder of photographs, split it, and write TFRecords.

    run-study and train do this first, too. Run it alone to see what the audit finds. Nothing is written when a
    photograph or a label cannot be used; --skip-bad leaves them out.

    Example:
        drsearch prepare ~/IDRiD --set images.image_px=256
    """
    from drsearch.api.data import prepare as make_records
    from drsearch.data.prepare import UnusableData
    from drsearch.display.data_tables import print_audit, print_counts

    out = console(as_json)
    try:
        dataset = make_records(
            data, settings=given_settings(set_, least_quality), config=config, skip_bad=skip_bad, progress=out
        )
    except UnusableData as refused:
        print_audit(out, refused.audit, skip_bad)
        print_json(as_json, {"refused": str(refused), "audit": str(refused.audit_path)})
        raise
    print_audit(out, dataset.audit, skip_bad)
    print_counts(out, dataset.prepared)
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
            help=f"With the folders, names and tables of this data set: {', '.join((FLAT, *LAYOUTS))}.",
        ),
    ] = FLAT,
    as_json: Json = False,
) -> None:
    """Draw synthetic eyes with lesions, to try drsearch without data.

    The folder has grades 0 to 4 and the boxes of the lesions. With --layout it has the folders, names and tables of a
    public data set, to try a loader before the data is there.

    Example:
        drsearch synthesize eyes --images 200
        drsearch synthesize mock-aptos --layout aptos
    """
    from drsearch.api.data import synthesize as draw

    counts = draw(out_folder, images, seed, layout)
    shown = ", ".join(f"{n} of grade {grade}" for grade, n in counts.items())
    if images > sum(counts.values()):
        shown += f", {images - sum(counts.values())} without a grade"
    console(as_json).print(f"{images} photographs in {out_folder}: {shown}")
    grades = {str(grade): n for grade, n in counts.items()}
    print_json(as_json, {"folder": str(out_folder), "images": images, "seed": seed, "layout": layout, "grades": grades})


def _prepared_json(dataset: "Data") -> dict[str, Any]:
    records = dataset.records
    return {
        "counts": records.counts,
        "source_bytes": records.source_bytes,
        "record_bytes": records.record_bytes,
        "duplicates": len(dataset.audit.duplicates),
        "unreadable": len(dataset.audit.unreadable),
        "findings": dataset.audit.counts(),
        "seconds": round(dataset.prepared.seconds, 3),
        "reused": dataset.prepared.reused,
        "records": str(records.folder),
        "audit": str(records.audit_path),
        "fingerprint": records.fingerprint,
    }
