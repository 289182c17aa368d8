"""Was the home moved? MLflow's local store keeps absolute paths of artifacts; they are made to follow the home."""

import sqlite3
from pathlib import Path
from urllib.parse import unquote, urlsplit

from absl import logging

from drsearch.home import Home
from drsearch.tracking.sender import sender_lock

_PATHS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "storage_location"),
)
"""Tables and columns of MLflow's database that hold where artifacts lie."""

_LOCKED_S = 10.0


def follow_move(home: Home) -> None:
    """Write the home's new place into its `mlflow.db`, if it was moved since the paths there were written.

    It was moved if artifacts lie in the home and the folder that the database names is gone. A copy beside the original
    is left alone: its paths lead to the original's artifacts, which are there. All paths change or none.
    """
    database = home.path / "mlflow.db"
    if home.tracking_uri != home.local_tracking_uri or not database.is_file():
        return
    try:
        former_places = _former_places(database, home)
        for former in former_places:
            with sender_lock(home) as nobody_sends:
                if nobody_sends:
                    _rewrite(database, former, home.path)
                    logging.info("%s was moved from %s; the paths in its mlflow.db follow", home.path, former)
    except (sqlite3.Error, OSError) as wrong:
        # The command itself says what is wrong with the database, where it needs it.
        logging.debug("%s: the paths of artifacts are left as they are (%s)", database, wrong)


def _former_places(database: Path, home: Home) -> set[Path]:
    """Folders that were this home and are gone."""
    connection = sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True, timeout=_LOCKED_S)
    try:
        locations = [row[0] for row in connection.execute("SELECT artifact_location FROM experiments")]
    finally:
        connection.close()
    places: set[Path] = set()
    for location in locations:
        folder = Path(unquote(urlsplit(location or "").path))
        former = folder.parent.parent
        if (
            str(location).startswith("file:///")
            and folder.parent.name == home.artifacts.name
            and former != home.path
            and not folder.parent.exists()
            and (home.artifacts / folder.name).is_dir()
        ):
            places.add(former)
    return places


def _rewrite(database: Path, former: Path, now: Path) -> None:
    old, new = f"{former.as_uri()}/", f"{now.as_uri()}/"
    connection = sqlite3.connect(database, timeout=_LOCKED_S, isolation_level=None)
    try:
        connection.execute("BEGIN IMMEDIATE")
        for table, column in _PATHS:
            connection.execute(
                f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE substr({column}, 1, ?) = ?",  # noqa: S608
                (new, len(old) + 1, len(old), old),
            )
        connection.execute("COMMIT")
    finally:
        connection.close()  # what was not committed is rolled back
