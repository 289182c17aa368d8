"""What every call begins with: the home, settings, a console, and whether MLflow and the study database answer."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from drsearch.display.output import liner, terminal
from drsearch.errors import DrsearchError
from drsearch.home import Home
from drsearch.masking import ADDRESS_VARIABLES, hide
from drsearch.settings import Settings, Value
from drsearch.tracking.availability import check_available, set_up_client
from drsearch.tracking.tracker import TrackerUnavailable

GivenSettings = Mapping[str, Value] | Settings | None
"""Settings by name, `{"training.epochs": 40}`, or all of them."""

Configs = str | Path | Iterable[str | Path]
"""One gin file or several, or the names of shipped ones (`best.gin`, `report.gin`)."""

_DATABASE_S = 30.0


def open_home() -> Home:
    """The home that DRSEARCH_HOME names (default: ./drsearch-home); its MLflow paths follow it where it was moved.

    Raises:
        DrsearchError: If it is a file.
    """
    from drsearch.tracking.moved_home import follow_move

    set_up_client()
    for variable in ADDRESS_VARIABLES:
        hide(os.environ.get(variable, ""))
    home = Home.from_environment()
    if home.path.is_file():
        raise DrsearchError(f"DRSEARCH_HOME is {home.path}, which is a file; remove it, or name a folder.")
    follow_move(home)
    return home


def console_of(progress: bool | Console) -> Console:
    """Where progress is shown: on standard output for True, nowhere for False, or on the given Rich console."""
    return progress if isinstance(progress, Console) else terminal(quiet=not progress)


def merged_settings(settings: GivenSettings, config: Configs, base: Settings | None = None) -> Settings:
    """Gin files, later ones winning, then single settings on top.

    Args:
        settings: Single settings.
        config: Gin files.
        base: Where neither says anything.

    Raises:
        SettingsError: If a file cannot be read, or a name or value is wrong.
    """
    from drsearch import config as gin_files

    files = [config] if isinstance(config, str | Path) else list(config)
    values = settings.flat() if isinstance(settings, Settings) else settings or {}
    return gin_files.load([str(file) for file in files], values, base)


def reach_mlflow(home: Home) -> None:
    """Check within seconds that MLflow answers, for a call that cannot do without it.

    Raises:
        DrsearchError: If it does not.
    """
    try:
        check_available(home.tracking_uri)
    except TrackerUnavailable as away:
        raise DrsearchError(f"{away}; start it, or set MLFLOW_TRACKING_URI to the address of another.") from away


def reach_runs(home: Home) -> None:
    """As `reach_mlflow`, for a call that reads runs or models: an empty home is refused, and nothing is created in it.

    Raises:
        DrsearchError: If MLflow does not answer, or there is nothing to read.
    """
    if home.tracking_uri == home.local_tracking_uri and not (home.path / "mlflow.db").exists():
        raise DrsearchError(
            f"{home.path} holds no runs and no models; `drsearch run-study` makes them, DRSEARCH_HOME names another "
            "folder, and MLFLOW_TRACKING_URI a server."
        )
    reach_mlflow(home)


def warn_if_away(home: Home, out: Console) -> bool:
    """Whether MLflow answers; if not, say so, as a training needs it only at its end."""
    try:
        check_available(home.tracking_uri)
    except TrackerUnavailable as away:
        liner(out)(f"{away}; training goes on without it, and runs are sent, and models registered, when it answers")
        return False
    return True


def storage_url(storage: str, home: Home) -> str:
    """The address of the study database: as given, or DRSEARCH_STORAGE, or the home's SQLite file."""
    return storage or os.environ.get("DRSEARCH_STORAGE", "") or home.storage_url


def open_studies(storage: str, home: Home, *, read_only: bool = False) -> Any:
    """The study database, for a call on studies that exist; none is created.

    Args:
        storage: Its address; empty for the default.
        home: Where the default is.
        read_only: Nothing is written, so that no right to write is needed.

    Raises:
        DrsearchError: If there is no database.
    """
    from drsearch.trials.retrying import limit_retries
    from drsearch.trials.storage import may_hold_studies, open_storage

    url = storage_url(storage, home)
    if url == home.storage_url and not (home.path / "studies.db").exists():
        raise DrsearchError(f"{home.path} holds no study; `drsearch run-study` begins one, --storage names a database.")
    if not may_hold_studies(url):
        raise DrsearchError(f"--storage {url}: there is no such file; `drsearch run-study` makes one.")
    limit_retries(_DATABASE_S)
    return open_storage(url, read_only=read_only)
