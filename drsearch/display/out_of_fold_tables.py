"""What a cross-validation came to, as tables."""

from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from drsearch.display.output import liner
from drsearch.display.tables import settings_text

if TYPE_CHECKING:
    from pathlib import Path

    from drsearch.release.out_of_fold_difference import OutOfFoldDifference
    from drsearch.release.out_of_fold_report import OutOfFoldReport

_SHOWN = {"auc": "AUC", "accuracy": "accuracy", "sensitivity": "sensitivity", "specificity": "specificity"}


_NAMED = 5


def print_out_of_fold(out: Console, report: "OutOfFoldReport", page: "Path | None") -> None:
    """Print the folds, the out-of-fold scores with what the inner scores flatter, and the baseline beside."""
    from drsearch.training.cross_validation import spread

    n_repeats = len(report.repeats)
    chosen = ["chosen"] if any(fold.params for fold in report.judged) else []
    folds = Table("repeat", "fold", "eyes", "best epoch", "threshold", *_SHOWN.values(), "inner AUC", *chosen)
    for fold in report.judged:
        values = (f"{getattr(fold.outer, name).value:.3f}" for name in _SHOWN)
        folds.add_row(
            str(fold.repeat),
            str(fold.fold),
            str(fold.outer.n),
            str(fold.epoch),
            f"{fold.outer.threshold:.4f}",
            *values,
            f"{fold.inner.auc.value:.3f}",
            *(settings_text(fold.params) for _ in chosen),
        )
    out.print(folds)
    repeats = ["over repeats"] if n_repeats > 1 else []
    of_repeats = f" in each of {n_repeats} repeats" if n_repeats > 1 else ""
    title = f"out of fold: {len(report.eyes)} eyes, each judged by {report.network_text}{of_repeats}"
    table = Table("", "value", "95 % interval", "over folds", *repeats, "inner", "inner - outer", title=title)
    table.title_justify = "left"
    for name, shown in _SHOWN.items():
        interval = getattr(report.scores, name)
        table.add_row(
            shown,
            f"{interval.value:.3f}",
            f"{interval.low:.3f} to {interval.high:.3f}",
            f"± {spread(report.fold_values(name)):.3f}",
            *(f"± {spread(report.repeat_values(name)):.3f}" for _ in repeats),
            f"{report.inner_mean(name):.3f}",
            format(report.optimism(name), "+.3f"),
        )
    out.print(table)
    if report.single_scores is not None:
        out.print(_single_table(report))
    say = liner(out)
    say(f"{report.drawn_words}; ± is a standard deviation")
    say(report.blind_text)
    if report.doubtful:
        names = ", ".join(each.name for each in report.doubtful[:_NAMED])
        more = f" and {len(report.doubtful) - _NAMED} more" if len(report.doubtful) > _NAMED else ""
        n = len(report.doubtful)
        say(f"labels that every repeat contradicts: {n}, the surest first: {names}{more}; look at {page}")
    if report.test_included:
        say("the test split was dealt, too: these scores are what to report of a setting that they choose")


def print_out_of_fold_difference(out: Console, difference: "OutOfFoldDifference") -> None:
    """Print both cross-validations side by side, and the paired differences over folds and seeds, and over eyes."""
    heads = (difference.name, difference.other, "difference (folds and seeds)", "difference (eyes)")
    table = Table("", *heads, title=difference.about, title_justify="left")
    for name, shown in _SHOWN.items():
        table.add_row(
            shown,
            f"{getattr(difference.scores, name).value:.3f}",
            f"{getattr(difference.other_scores, name).value:.3f}",
            format(difference.over_folds[name], "+.3f"),
            format(difference.over_eyes[name], "+.3f"),
        )
    out.print(table)


def _single_table(report: "OutOfFoldReport") -> Table:
    """What one of the networks of a mean scores, and what averaging is worth."""
    table = Table("", "one network", "95 % interval", "mean - one", title="one of the networks on the same eyes")
    table.title_justify = "left"
    for name, gain in report.gains.items():
        one = getattr(report.single_scores, name)
        table.add_row(_SHOWN[name], f"{one.value:.3f}", f"{one.low:.3f} to {one.high:.3f}", format(gain, "+.3f"))
    return table
