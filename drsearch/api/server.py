"""Servers: a model over HTTP, MLflow's pages, what was not sent to MLflow yet, and its accounts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from drsearch.api.access import open_home, open_studies, reach_mlflow, reach_runs
from drsearch.api.model import Model, load_model
from drsearch.errors import DrsearchError
from drsearch.tracking.availability import is_served

if TYPE_CHECKING:
    from drsearch.serving.http_service import Service
    from drsearch.tracking.accounts import Change
    from drsearch.tracking.mlflow_server import UiServer


def serve(model: str | Model, host: str = "127.0.0.1", port: int = 5001) -> Service:
    """Serve a registered model over HTTP.

    POST a photograph to /predict or /explain, or MLflow's JSON to /invocations; GET /health tells whether it is up.
    There is no password and no encryption: read docs/serving.md before you open it to a network.

    Args:
        model: A version, or its name; an alias is looked up now, once.
        host: Address to listen on; the default serves this machine only.
        port: Port to listen on; 0 picks a free one.

    Returns:
        The service, warmed up and listening at its `url`: `run()` answers until `stop()` is called or Ctrl-C.

    Raises:
        ServiceError: If the port is taken, or the host is not this machine's.
        RegistryError: If there is no such version.
    """
    from drsearch.serving.http_service import Service, bind

    reach_runs(open_home())
    listening = bind(host, port)
    try:
        return Service(load_model(model)._load(), listening)
    except BaseException:
        listening.close()
        raise


@contextmanager
def ui(study: str = "", port: int = 5000) -> Iterator[tuple[str, UiServer | None]]:
    """Serve MLflow's pages on the home's local store while the `with` block lasts.

    Args:
        study: The study to compare. Default: the newest.
        port: Port to listen on; 0 picks a free one.

    Yields:
        The link that shows the best trials side by side, and the server; None where MLFLOW_TRACKING_URI names one.

    Raises:
        UiError: If the port is taken, or the server does not come up.
    """
    from drsearch.tracking.mlflow_server import start_ui

    home = open_home()
    reach_runs(home)
    with ExitStack() as stack:
        server = None if is_served(home.tracking_uri) else stack.enter_context(start_ui(home, port))
        from drsearch.tracking.mlflow_views import comparison_link  # imports MLflow, while the server does

        if server is not None:
            server.await_answer()
        url = home.tracking_uri.rstrip("/") if server is None else server.url
        yield comparison_link(url, study), server


def report_page(study: str = "", server: UiServer | None = None) -> str:
    """The link to a study's report on MLflow's pages; empty where it has none.

    Args:
        study: The study. Default: the newest.
        server: What `ui` serves; None where MLFLOW_TRACKING_URI names one.
    """
    from drsearch.reports.study_log import report_link

    return report_link(server.url if server is not None else open_home().tracking_uri, study)


@contextmanager
def dashboard(study: str = "", port: int = 8080, storage: str = "") -> Iterator[tuple[str, Callable[[], None]]]:
    """Serve optuna-dashboard on the study database while the `with` block lasts.

    Args:
        study: The study that the link opens. Default: the list of studies.
        port: Port to listen on; 0 picks a free one.
        storage: Address of the study database; empty for the default.

    Yields:
        The link, and a function that returns when the server has ended.
    """
    from drsearch.study.dashboard import dashboard as optuna_dashboard

    with optuna_dashboard(open_studies(storage, open_home()), study, port) as (link, wait):
        yield link, wait


def sync() -> int:
    """Send to MLflow what it has not received yet, for example after it was unreachable; nothing is sent twice.

    Studies do this while they run.

    Returns:
        How many events were sent.

    Raises:
        DrsearchError: If MLflow does not answer, or something could not be sent: the reasons are named.

    Example:
        >>> import drsearch
        >>> drsearch.sync()
        0
    """
    n, unsent = send_all()
    if unsent:
        raise unsent_error(unsent)
    return n


def unsent_error(unsent: Mapping[str, str]) -> DrsearchError:
    """The error for runs that are not wholly in MLflow.

    Args:
        unsent: The reason for each run.
    """
    counts = Counter(why.rstrip(".") for why in unsent.values())
    reasons = " ".join(f"{n} of them: {why}." for why, n in counts.items())
    return DrsearchError(f"{len(unsent)} run{'s are' if len(unsent) > 1 else ' is'} not wholly in MLflow. {reasons}")


def send_all() -> tuple[int, dict[str, str]]:
    """As `sync`.

    Returns:
        How many events were sent, and for each run that is not wholly in MLflow the reason.
    """
    from drsearch.tracking.remote_runs import check_experiments
    from drsearch.tracking.sender import experiments
    from drsearch.tracking.sender import sync as send
    from drsearch.tracking.sent import unsent, why_unsent

    home = open_home()
    reach_mlflow(home)
    n = send(home) if home.runs.is_dir() else 0
    left = {
        str(folder.relative_to(home.runs)): why_unsent(folder) or "a study that runs in this home is sending it"
        for folder in unsent(home)
    }
    if not left:
        check_experiments(home, *experiments(home))
    return n, left


def set_users(file: str | Path, on_change: Callable[[Change], None] = lambda _: None) -> list[Change]:
    """Set the accounts of an MLflow server from a file, as an admin; a second call with it changes nothing.

    Args:
        file: CSV with the columns user, role (reader, researcher, registrar or gone) and, optionally, password: the
            name of the environment variable that holds it. Without it a password is generated.
        on_change: Called with each change once it is done: a generated password is known nowhere else, should the
            next change fail.

    Returns:
        The change of each user: role, what was done, and the password if it was generated.

    Raises:
        DrsearchError: If the file is wrong, or MLflow does not answer or has no accounts.
    """
    from drsearch.tracking.accounts import Users, read_users

    home = open_home()
    reach_mlflow(home)
    changes = []
    for change in Users(home.tracking_uri).apply(read_users(Path(file).expanduser())):
        changes.append(change)
        on_change(change)
    return changes


def change_password(password: str) -> str:
    """Change your own password on the MLflow server; you are the user that MLFLOW_TRACKING_USERNAME names.

    Args:
        password: The new one. MLFLOW_TRACKING_PASSWORD must be set to it for further calls.

    Returns:
        The user's name.

    Raises:
        DrsearchError: If MLflow does not answer, has no accounts, or refuses the password.
    """
    from drsearch.tracking.accounts import Users

    home = open_home()
    reach_mlflow(home)
    return Users(home.tracking_uri).change_password(password)
