"""The program itself: its options that every command has, and how it ends."""

import os
import sys
from typing import Annotated

import typer
from absl import logging

from drsearch import __version__
from drsearch.disk import is_full, sentence
from drsearch.errors import DrsearchError, Interrupted
from drsearch.home import Home

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="From a folder of fundus photographs to a registered classifier of referable diabetic retinopathy. "
    "What is kept lies under DRSEARCH_HOME (default ./drsearch-home); MLFLOW_TRACKING_URI names another MLflow.",
)


def _print_version(asked: bool) -> None:
    """Answered while the line is parsed: without a command, click would ask for one first."""
    if asked:
        typer.echo(f"drsearch {__version__}")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and leave.", callback=_print_version, is_eager=True)
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Log more to standard error.")] = False,
) -> None:
    """Set up logging; every command starts here."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    logging.use_absl_handler()
    logging.set_verbosity(logging.DEBUG if verbose else logging.INFO)


def main() -> None:
    """Run the command line: 0 on success, 2 for what was foreseen (one sentence), 130 when interrupted."""
    try:
        code = app(standalone_mode=False)
        if code == 130:  # typer takes Ctrl-C itself, and returns this
            raise KeyboardInterrupt
        sys.exit(code)
    except (Interrupted, KeyboardInterrupt, typer.Abort) as stopped:
        print(f"drsearch: {str(stopped) or 'interrupted'}", file=sys.stderr)
        sys.exit(130)
    except DrsearchError as wrong:
        print(f"drsearch: {wrong}", file=sys.stderr)
        sys.exit(2)
    except Exception as wrong:
        _explain_usage(wrong)
        if is_full(wrong):
            where = getattr(wrong, "filename", None) or Home.from_environment().path
            print(f"drsearch: {sentence(where)}; make space, and give the same command again.", file=sys.stderr)
            sys.exit(2)
        raise


def _explain_usage(wrong: Exception) -> None:
    """What click itself has to say of a command line that is off; anything else is a bug and keeps its traceback."""
    show, code = getattr(wrong, "show", None), getattr(wrong, "exit_code", None)
    if callable(show) and isinstance(code, int):
        show()
        sys.exit(code)
