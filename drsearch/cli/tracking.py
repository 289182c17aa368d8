"""Commands on MLflow: ui, sync."""

import contextlib
from typing import Annotated

import typer

from drsearch.cli.app import command
from drsearch.cli.completion import studies
from drsearch.cli.options import Json, StorageUrl
from drsearch.cli.output import console, print_json, progress_on
from drsearch.display.output import working
from drsearch.home import Home


@command("MLflow")
def ui(
    study: Annotated[
        str,
        typer.Argument(
            metavar="STUDY",
            autocompletion=studies,
            help="Study to compare. Default: the newest.",
            show_default=False,
        ),
    ] = "",
    port: Annotated[int, typer.Option("--port", metavar="N", help="Port to listen on; 0 picks a free one.")] = 5000,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the link in a browser.")] = True,
    with_optuna: Annotated[bool, typer.Option("--dashboard", help="Serve optuna-dashboard instead of MLflow.")] = False,
    storage: StorageUrl = "",
) -> None:
    """Serve MLflow until Ctrl-C; print a link to the best trials.

    If MLFLOW_TRACKING_URI names a server, only the link is printed.

    Example:
        drsearch ui resnet --port 0
    """
    import webbrowser

    from drsearch.api import server

    out = console(False)
    with contextlib.ExitStack() as stack:
        if with_optuna:
            with working(progress_on(out), "starting optuna-dashboard"):
                link, wait = stack.enter_context(server.dashboard(study, port, storage))
            out.print(f"optuna-dashboard: {link}", soft_wrap=True)
            if browser:
                webbrowser.open(link)
            with contextlib.suppress(KeyboardInterrupt):
                wait()
            return
        with working(progress_on(out), "starting MLflow"):
            link, local = stack.enter_context(server.ui(study, port))
        if local is not None:
            out.print(f"MLflow: {local.page}", soft_wrap=True)
        out.print(f"the best trials side by side: {link}", soft_wrap=True)
        if local is not None and browser:
            webbrowser.open(link)
        with contextlib.suppress(KeyboardInterrupt):
            if report := server.report_page(study, local):
                out.print(f"its report: {report}", soft_wrap=True)
            if local is not None:
                local.wait()


@command("MLflow")
def sync(as_json: Json = False) -> None:
    """Send to MLflow what it has not received yet.

    Studies do this while they run. Run it after MLflow was unreachable; nothing is sent twice.

    Example:
        drsearch sync
    """
    from drsearch.api.server import send_all, unsent_error

    out = console(as_json)
    with working(progress_on(out), "sending"):
        n, unsent = send_all()
    out.print(f"{n} events sent to {Home.from_environment().tracking_uri}", soft_wrap=True)
    print_json(as_json, {"sent": n, "unsent": [{"run": run, "why": why} for run, why in unsent.items()]})
    if unsent:
        raise unsent_error(unsent)
