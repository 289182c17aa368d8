"""Commands on MLflow: ui, sync."""

import contextlib
from typing import Annotated

import typer

from drsearch.cli.app import command
from drsearch.cli.options import Json, StorageUrl
from drsearch.cli.output import console, liner, open_studies, print_json, reach_mlflow, reach_runs
from drsearch.errors import DrsearchError
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

    from drsearch.tracking.mlflow_server import serve_ui
    from drsearch.tracking.mlflow_views import comparison_link

    out, home = console(False), Home.from_environment()
    if with_optuna:
        from drsearch.study.dashboard import dashboard

        with dashboard(open_studies(storage, home), study, port) as (link, wait):
            out.print(f"optuna-dashboard: {link}", soft_wrap=True)
            if browser:
                webbrowser.open(link)
            with contextlib.suppress(KeyboardInterrupt):
                wait()
        return
    reach_runs(home)
    if home.tracking_uri.startswith(("http://", "https://")):
        liner(out)(f"the best trials side by side: {comparison_link(home.tracking_uri.rstrip('/'), study)}")
        return
    with serve_ui(home, port) as server:
        link = comparison_link(server.url, study)
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
    from drsearch.tracking.remote_runs import RemoteRuns
    from drsearch.tracking.sender import experiments
    from drsearch.tracking.sender import sync as send
    from drsearch.tracking.sent import unsent, why_unsent

    home = Home.from_environment()
    reach_mlflow(home)
    n = send(home) if home.runs.is_dir() else 0
    console(as_json).print(f"{n} events sent to {home.tracking_uri}", soft_wrap=True)
    left = {folder: why_unsent(folder) or "a study that runs in this home is sending it" for folder in unsent(home)}
    runs = [{"run": str(folder.relative_to(home.runs)), "why": why} for folder, why in left.items()]
    print_json(as_json, {"sent": n, "unsent": runs})
    if left:
        whys = list(dict.fromkeys(left.values()))
        shown = " ".join(f"{sum(each == why for each in left.values())} of them: {why.rstrip('.')}." for why in whys)
        raise DrsearchError(f"{len(left)} run{'s are' if len(left) > 1 else ' is'} not wholly in MLflow. {shown}")
    for name in experiments(home):
        RemoteRuns(home.tracking_uri).check_active(name)
