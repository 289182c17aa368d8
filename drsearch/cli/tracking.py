"""Commands on MLflow: ui, sync."""

import contextlib
from typing import Annotated

import typer

from drsearch.cli.app import command
from drsearch.cli.options import Json, StorageUrl
from drsearch.cli.output import console, liner, open_studies, print_json
from drsearch.home import Home


@command("MLflow")
def ui(
    study: Annotated[
        str, typer.Argument(metavar="STUDY", help="Study to compare. Default: the newest.", show_default=False)
    ] = "",
    port: Annotated[int, typer.Option("--port", metavar="N", help="Port to listen on; 0 picks a free one.")] = 5000,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the link in a browser.")] = True,
    with_optuna: Annotated[bool, typer.Option("--dashboard", help="Serve optuna-dashboard instead of MLflow.")] = False,
    storage: StorageUrl = "",
) -> None:
    """Serve MLflow until Ctrl-C; print the link to the best trials.

    If MLFLOW_TRACKING_URI names a server, only the link is printed.

    Example:
        drsearch ui resnet --port 0
    """
    import webbrowser

    from drsearch.tracking.ui import comparison_link, serve_ui

    out, home = console(False), Home.from_environment()
    if with_optuna:
        from drsearch.search.dashboard import dashboard

        with dashboard(open_studies(storage, home), study, port) as (link, wait):
            out.print(f"optuna-dashboard: {link}", soft_wrap=True)
            if browser:
                webbrowser.open(link)
            with contextlib.suppress(KeyboardInterrupt):
                wait()
        return
    if home.tracking_uri.startswith(("http://", "https://")):
        liner(out)(f"the best trials side by side: {comparison_link(home.tracking_uri.rstrip('/'), study)}")
        return
    with serve_ui(home, port) as server:
        link = server.chart_link(study)
        out.print(f"MLflow: {server.url}", soft_wrap=True)
        out.print(f"the best trials side by side: {link}", soft_wrap=True)
        if browser:
            webbrowser.open(link)
        with contextlib.suppress(KeyboardInterrupt):
            server.wait()


@command("MLflow")
def sync(as_json: Json = False) -> None:
    """Send to MLflow what it has not received yet.

    Studies do this while they run. Run it after MLflow was unreachable; nothing is sent twice.

    Example:
        drsearch sync
    """
    from drsearch.tracking.sender import sync as send

    home = Home.from_environment()
    n = send(home)
    console(as_json).print(f"{n} entries sent to {home.tracking_uri}")
    print_json(as_json, {"sent": n})
