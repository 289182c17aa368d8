"""The program itself: how commands are added and explained, the options before a command, and how it ends."""

import inspect
import os
import re
import sys
from collections.abc import Callable
from typing import Annotated, Any, Literal, TypeVar

import typer
from typer.core import TyperCommand, TyperGroup

from drsearch import __version__
from drsearch.api.access import open_home
from drsearch.cli.output import be_quiet
from drsearch.errors import DrsearchError, Interrupted
from drsearch.files import fault
from drsearch.home import Home
from drsearch.log import start_logging
from drsearch.masking import mask_output
from drsearch.signals import stop_like_ctrl_c

Panel = Literal["Data", "Studies", "Models", "Champion", "MLflow"]
"""The groups of commands in `drsearch --help`."""

_F = TypeVar("_F", bound=Callable[..., None])


class _Command(TyperCommand):
    """A command whose help names values, not Python types."""

    def get_params(self, ctx: Any) -> list[Any]:
        return _without_types(super().get_params(ctx))


class _Group(TyperGroup):
    """The program, with the same help."""

    def get_params(self, ctx: Any) -> list[Any]:
        return _without_types(super().get_params(ctx))


def _without_types(params: list[Any]) -> list[Any]:
    """Drop the types that Typer shows: `<bool>` for an option without a value, `<list[Path]>` for an argument."""
    for param in params:
        if getattr(param, "is_flag", False):
            param.metavar = ""
        elif param.param_type_name == "argument":
            param.display_type = lambda ctx: ""
    return params


app = typer.Typer(
    cls=_Group,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"]},
    help="From a folder of fundus photographs to a registered classifier of referable diabetic retinopathy.",
    epilog="Everything lies in DRSEARCH_HOME (default ./drsearch-home); MLFLOW_TRACKING_URI names another MLflow.\n\n"
    "First steps without photographs of your own: drsearch synthesize eyes; "
    "drsearch run-study sample --data eyes",
)


def command(panel: Panel, name: str | None = None) -> Callable[[_F], _F]:
    """Add a function to the program as a command; its docstring is the help.

    Args:
        panel: The group of `drsearch --help` that lists it.
        name: Of the command; None for the function's.
    """

    def add(function: _F) -> _F:
        text = _flowing(inspect.getdoc(function) or "")
        app.command(name, cls=_Command, rich_help_panel=panel, help=text)(function)
        return function

    return add


def _flowing(text: str) -> str:
    """Help without the line breaks of the source; indented lines, which are examples, keep theirs.

    Example:
        >>> _flowing("Do\\nit.\\n\\nExample:\\n    drsearch do")
        'Do it.\\n\\nExample:\\n    drsearch do'
    """
    return re.sub(r"(?<=\S)\n(?=\S)", " ", text)


def _print_version(wanted: bool) -> None:
    """Answered while the line is parsed: without a command, click would ask for one first."""
    if wanted:
        typer.echo(f"drsearch {__version__}")
        raise typer.Exit


@app.callback()
def common(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show results and warnings, no progress.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Write debug messages to standard error.")] = False,
) -> None:
    """Set up logging; every command starts here."""
    start_logging(verbose, quiet)
    be_quiet(quiet)
    if context.invoked_subcommand != "doctor":  # which says what is wrong with it
        open_home()


def main() -> None:
    """Run the command line: 0 on success, 2 for what was foreseen (one sentence), 130 when interrupted."""
    mask_output()
    stop_like_ctrl_c()
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
        if foreseen := _refusal(wrong) or _outage(wrong) or fault(wrong, Home.from_environment().path):
            print(f"drsearch: {foreseen}", file=sys.stderr)
            sys.exit(2)
        raise


def _outage(wrong: Exception) -> str:
    """What is refusal of an MLflow that went away while a command used it; empty for any other error."""
    if "mlflow" not in sys.modules:
        return ""
    from drsearch.tracking.mlflow_client import outage

    return outage(wrong, Home.from_environment().tracking_uri)


def _refusal(wrong: Exception) -> str:
    """The sentence for a user whom an MLflow server refuses; empty for any other error."""
    refusal = re.search(
        r"error code (401|403)\b(?:.*Response body: '(.*)')?|\b(401|403) Client Error", str(wrong), re.DOTALL
    )
    if refusal is None or not type(wrong).__module__.startswith(("mlflow.", "requests.")):
        return ""
    where, who = Home.from_environment().tracking_uri, os.environ.get("MLFLOW_TRACKING_USERNAME", "nobody")
    if "401" in (refusal[1], refusal[3]):
        return f"{where} knows no such user and password; set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD."
    return f"{where} refuses it to {who}: {(refusal[2] or 'Permission denied').strip()}"


def _explain_usage(wrong: Exception) -> None:
    """Print click's own message about a wrong command line and exit; any other error returns."""
    show, code = getattr(wrong, "show", None), getattr(wrong, "exit_code", None)
    if callable(show) and isinstance(code, int):
        show()
        sys.exit(code)
