"""New SQLite stores of MLflow by the statements that its migrations come to: those take 1.4 s of CPU per store.

The first store is migrated; the statements that make its tables and rows are kept in a file for all processes of tests.
PostgreSQL, and commands that start cold, are migrated as ever.
"""

import json
import os
import tempfile
from pathlib import Path
from typing import Any

FILE = "NEW_STORES"
"""The environment variable that names the file."""


def make_by_statements() -> None:
    """Let this process, and those that are forked from it, make new stores so."""
    from mlflow.store.db import utils
    from mlflow.store.model_registry import sqlalchemy_store

    file, migrate = Path(os.environ[FILE]), utils._initialize_tables

    def make_tables(engine: Any) -> None:
        if engine.url.get_backend_name() != "sqlite":
            migrate(engine)
            return
        if not file.exists():
            _write_statements(file, migrate)
        with engine.begin() as connection:
            for statement in json.loads(file.read_text()):
                connection.exec_driver_sql(statement)

    utils._initialize_tables = sqlalchemy_store._initialize_tables = make_tables


def _write_statements(file: Path, migrate: Any) -> None:
    import sqlalchemy

    with tempfile.TemporaryDirectory(dir=file.parent) as folder:
        engine = sqlalchemy.create_engine(f"sqlite:///{folder}/first.db")
        migrate(engine)
        with engine.connect() as connection:
            _, *statements, _ = connection.connection.driver_connection.iterdump()  # but for BEGIN and COMMIT
        engine.dispose()
        (Path(folder) / "statements").write_text(json.dumps(["BEGIN IMMEDIATE", *statements]))
        (Path(folder) / "statements").replace(file)
