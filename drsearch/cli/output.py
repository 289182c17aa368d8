"""Where commands write and what they share: people's output, JSON, bars, questions, lazily loaded libraries."""

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from drsearch.errors import DrsearchError
from drsearch.home import Home

if TYPE_CHECKING:
    from drsearch.measure.scores import OneClassScores, Scores


_DATABASE_S = 30.0
"""How long a command that runs nothing waits for a study database that went away."""


def console(as_json: bool) -> Console:
    """Where people read: standard output, or standard error when the JSON has the former."""
    out = Console(stderr=as_json, highlight=False)
    if not out.is_terminal:
        out.width = 120  # a file or a pipe has no width of its own, and 80 columns cut names short
    return out


def liner(out: Console) -> Callable[[str], None]:
    """Prints one line a call, however long: what follows a line break would look like another."""
    return lambda text: out.print(text, soft_wrap=True, markup=False)


def print_lines(out: Console, lines: Iterable[Text]) -> None:
    """Print a table's lines whole, however wide, and wrap text at words."""
    for line in lines:
        out.print(line, crop=False)


def print_json(as_json: bool, told: dict[str, Any]) -> None:
    """One JSON object on standard output, where it was asked for."""
    if as_json:
        print(json.dumps(told), flush=True)  # a command that goes on may be read through a pipe


@contextmanager
def counting(out: Console, what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar for work of known length; silent where the output is no terminal."""
    from rich.progress import Progress

    with Progress(console=out, transient=True, disable=not out.is_terminal) as progress:
        task = progress.add_task(what, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def confirmed(out: Console, question: str) -> bool:
    """Whether the person at the terminal says yes; where there is none, no."""
    if not sys.stdin.isatty():
        return False
    return out.input(f"{question} [y/N] ").strip().lower() in ("y", "yes")


def command_name() -> str:
    """How this program is called from here, for the commands that it names."""
    if shutil.which("drsearch"):
        return "drsearch"
    if Path(sys.argv[0]).name == "__main__.py":  # python -m drsearch
        return f"{sys.executable} -m drsearch"
    return os.path.relpath(sys.argv[0])


def reach_mlflow(home: Home) -> None:
    """End a command that only MLflow can answer, within seconds, where it does not."""
    from drsearch.tracking.availability import check_available
    from drsearch.tracking.tracker import TrackerUnavailable

    try:
        check_available(home.tracking_uri)
    except TrackerUnavailable as wrong:
        raise DrsearchError(f"{wrong}; start it, or set MLFLOW_TRACKING_URI to the address of another.") from wrong


def reach_runs(home: Home) -> None:
    """As `reach_mlflow`, for a command that reads what others made: in an empty home nothing is created."""
    if home.tracking_uri == home.local_tracking_uri and not (home.path / "mlflow.db").exists():
        raise DrsearchError(
            f"{home.path} holds no runs and no models; `drsearch run-study` makes them, DRSEARCH_HOME names another "
            "folder, and MLFLOW_TRACKING_URI a server."
        )
    reach_mlflow(home)


def warn_if_away(home: Home, out: Console) -> bool:
    """Say at once that MLflow does not answer, where a training does not need it before its end; whether it does."""
    from drsearch.tracking.availability import check_available
    from drsearch.tracking.tracker import TrackerUnavailable

    try:
        check_available(home.tracking_uri)
    except TrackerUnavailable as wrong:
        liner(out)(f"{wrong}; training goes on without it, and runs are sent, and models registered, when it answers")
        return False
    return True


def open_studies(storage: str, home: Home, *, only_look: bool = False) -> Any:
    """The study database, asked for what is there: none is made where there is none.

    Args:
        storage: Its address; empty for the home's own.
        home: Where that lies.
        only_look: Whether nothing is to be written, so that no right to write is needed.
    """
    from drsearch.trials.storage import limit_patience, may_hold_studies, open_storage

    if not storage and not (home.path / "studies.db").exists():
        raise DrsearchError(f"{home.path} holds no study; `drsearch run-study` begins one, --storage names a database.")
    if storage and not may_hold_studies(storage):
        raise DrsearchError(f"--storage {storage}: there is no such file; `drsearch run-study` makes one.")
    limit_patience(_DATABASE_S)
    return open_storage(storage or home.storage_url, only_look=only_look)


@contextmanager
def opened_model(model: str, home: Home) -> Iterator[Any]:
    """A registered model, fetched for as long as it is asked."""
    import tempfile

    from drsearch.release.registry import Registry

    with tempfile.TemporaryDirectory() as folder:
        files = Registry(home.tracking_uri).download(model, Path(folder))
        from drsearch.serving.grader import Grader  # loads TensorFlow, for a model that is there

        yield Grader(files)


def print_scores(out: Console, title: str, found: "Scores | OneClassScores") -> None:
    """Scores with their intervals and threshold, the confusion matrix, and what speaks against the model."""
    table = Table("", "value", "95 % interval", title=title, title_justify="left")
    for name, interval in found.labelled:
        if interval is None:
            table.add_row(name, "not defined", "all eyes are of one class")
        else:
            table.add_row(name, f"{interval.value:.3f}", f"{interval.low:.3f} to {interval.high:.3f}")
    out.print(table)
    (tn, fp), (fn, tp) = found.confusion
    confusion = Table(f"at {found.threshold:.4g}", "called NRDR", "called RDR")
    confusion.add_row("NRDR", str(tn), str(fp))
    confusion.add_row("RDR", str(fn), str(tp))
    out.print(confusion)
    if found.caution:
        out.print(found.caution, soft_wrap=True, markup=False)
