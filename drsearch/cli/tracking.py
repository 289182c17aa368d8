"""Commands on MLflow: ui, sync."""

import contextlib
from typing import Annotated

import typer

from drsearch.cli.app import app
from drsearch.cli.options import Json, StorageUrl
from drsearch.cli.output import console, liner, open_studies, print_json
from drsearch.home import Home


@app.command()
def ui(
    study: Annotated[str, typer.Argument(help="Study to open; default: the one begun last.")] = "",
    port: Annotated[int, typer.Option("--port", help="Port on this machine; 0 takes a free one.")] = 5000,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the link in a browser.")] = True,
    with_optuna: Annotated[
        bool, typer.Option("--dashboard", help="Serve optuna-dashboard on the study database instead.")
    ] = False,
    storage: StorageUrl = "",
) -> None:
    """Serve MLflow on what is kept here, and print the link that compares a study's best trials. Ctrl-C ends it.

    Where MLFLOW_TRACKING_URI names a server, that one is up already, and only the link is printed.
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


@app.command()
def sync(as_json: Json = False) -> None:
    """Send to MLflow what has not reached it yet; each thing once, however often this is called."""
    from drsearch.tracking.sender import sync as send

    home = Home.from_environment()
    n = send(home)
    console(as_json).print(f"{n} entries sent to {home.tracking_uri}")
    print_json(as_json, {"sent": n})
