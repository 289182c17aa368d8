"""Updates the absolute artifact paths in MLflow's local store after the home was moved."""

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
"""Tables and columns of MLflow's database with artifact paths."""

_LOCKED_S = 10.0


def follow_move(home: Home) -> None:
    """Write the home's new path into its `mlflow.db`, if the home was moved since those paths were written.

    The home was moved if it has artifacts and the folder that the database names does not exist. A copy beside the
    original keeps its paths: they lead to the artifacts of the original. Changes all paths or none.
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
        # The command itself reports a faulty database, if it needs it.
        logging.debug("%s: the paths of artifacts are left as they are (%s)", database, wrong)


def _former_places(database: Path, home: Home) -> set[Path]:
    """Earlier paths of this home, which do not exist any more."""
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
