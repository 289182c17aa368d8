"""The audit of a data set and its splits as tables."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from drsearch.display.output import print_lines
from drsearch.display.tables import column, table

if TYPE_CHECKING:
    from drsearch.data.audit import Audit
    from drsearch.data.prepare import Prepared
    from drsearch.datasets.read import Dataset
    from drsearch.study.cleaning import Kept

_N_NAMED, _N_LOWEST = 8, 3


def print_reading(out: Console, dataset: "Dataset") -> None:
    """What each data set was taken for, which columns mean what, and what a user must know about it."""
    for description in dataset.source.sets:
        for line in (description.words, *description.notes):
            out.print(line, markup=False, soft_wrap=True)


def print_audit(out: Console, audit: "Audit", skipped: bool) -> None:
    """The findings as a table; every name stands in the file of the audit."""
    rows = [
        ("cannot be read whole", [f"{name}: {reason}" for name, reason in audit.unreadable]),
        ("no retina that can be graded", [f"{name}: {reason}" for name, reason in audit.no_retina]),
        ("grade not 0 to 4", [f"{name}: {text!r}" for name, text in audit.invalid_grade]),
        ("label without photograph", list(audit.label_without_photograph)),
        ("photograph without label", list(audit.unlabelled)),
        ("the same picture", [_same(picture.files, picture.grades) for picture in audit.duplicates]),
        ("of these, graded differently", [_same(picture.files, picture.grades) for picture in audit.contradicting]),
        ("cannot be graded, by its label", list(audit.ungradable)),
        ("unusual crop", [f"{name}: {text}" for name, text in audit.unusual_crops]),
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
    out.print(audit.patients_text, soft_wrap=True, markup=False)
    if audit.ungradable:
        share = 1 - len(audit.ungradable) / audit.n_photographs
        out.print(f"imageability: {share:.1%} of the photographs can be graded by their labels", soft_wrap=True)
    _print_quality(out, audit)
    if audit.not_used:
        out.print("\n  ".join(["not used:", *_first(audit.not_used)]), markup=False, soft_wrap=True)
    if skipped and audit.bad:
        out.print(f"gone on without {len(audit.bad)} of them (--skip-bad)")


def _print_quality(out: Console, audit: "Audit") -> None:
    """How many photographs have which quality, and the worst."""
    if not sum(audit.quality):
        return
    counts = ", ".join(f"{n} from {step / len(audit.quality):.1f}" for step, n in enumerate(audit.quality) if n)
    out.print(f"quality, 0 to 1: {counts}; lowest:", soft_wrap=True, markup=False)
    for file, score, reason in audit.lowest_quality[:_N_LOWEST]:
        out.print(f"  {score:.2f} {file} {reason}".rstrip(), soft_wrap=True, markup=False)


def _first(names: Sequence[str]) -> list[str]:
    """The first few, and a line that says how many more there are."""
    more = [f"... and {len(names) - _N_NAMED} more in the file of the audit"] if len(names) > _N_NAMED else []
    return [*names[:_N_NAMED], *more]


def _same(files: tuple[str, ...], grades: tuple[Any, ...]) -> str:
    return " = ".join(f"{name} (grade {grade})" for name, grade in zip(files, grades, strict=True))


def print_counts(out: Console, prepared: "Prepared") -> None:
    """How many photographs of which class and grade each split has, and what they take on disk."""
    records = prepared.records
    counts = list(records.counts.values())
    columns = [
        column("split", list(records.counts)),
        column("photographs", [str(each["n"]) for each in counts], "right"),
    ]
    columns += [column(name, [str(each[name]) for each in counts], "right") for name in ("NRDR", "RDR")]
    columns += [column(f"grade {i}", [str(each["grades"][str(i)]) for each in counts], "right") for i in range(5)]
    print_lines(out, table(columns))
    per_photograph = records.record_bytes / max(1, sum(counts["n"] for counts in records.counts.values())) / 1000
    how = "reused" if prepared.reused else f"written in {prepared.seconds:.1f} s"
    out.print(
        f"{records.source_bytes / 1e6:.1f} MB of photographs became {records.record_bytes / 1e6:.1f} MB of "
        f"records ({per_photograph:.1f} kB each), {how}: {prepared.records.folder}",
        soft_wrap=True,
    )


def print_kept(out: Console, found: Sequence["Kept"]) -> None:
    """What takes space in a home, kind by kind, and how much of it can go."""
    sums = sum(each.n_bytes for each in found), sum(each.unneeded_bytes for each in found)
    rows = [*((each.kind, each.n_bytes, each.unneeded_bytes, each.why) for each in found), ("all", *sums, "")]
    names, takes, goes, why = zip(*rows, strict=True)
    columns = [
        column("what", names),
        column("takes, MB", [f"{n / 1e6:,.1f}" for n in takes], "right"),
        column("can go, MB", [f"{n / 1e6:,.1f}" for n in goes], "right"),
        column("", why),
    ]
    print_lines(out, table(columns))
