"""Is an MLflow that does not answer noticed within seconds, and named?"""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from drsearch.tracking.availability import check_available
from drsearch.tracking.tracker import TrackerUnavailable


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port whose owner takes every connection and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def why(uri: str) -> str:
    with pytest.raises(TrackerUnavailable) as wrong:
        check_available(uri, timeout_s=1)
    return str(wrong.value)


def test_a_server_that_is_not_there() -> None:
    assert why("http://ann:secret@127.0.0.1:9") == (
        "MLflow at http://***@127.0.0.1:9 does not answer: connection refused"
    )


def test_a_server_that_takes_connections_and_says_nothing(silent_port: int) -> None:
    assert why(f"http://127.0.0.1:{silent_port}") == (
        f"MLflow at http://127.0.0.1:{silent_port} does not answer: no answer in time"
    )


def test_a_machine_that_nobody_knows() -> None:
    assert why("http://no-such-machine.invalid:5000").endswith(" does not answer: no machine of that name")


def test_a_database_that_mlflow_would_try_for_minutes() -> None:
    assert why("postgresql://ann:secret@127.0.0.1:9/mlflow") == (
        "MLflow at postgresql://***@127.0.0.1:9/mlflow does not answer: connection refused"
    )


def test_every_status_is_an_answer(silent_port: int, mlflow_server: object) -> None:
    url = mlflow_server.url  # type: ignore[attr-defined]
    check_available(url)
    check_available(f"{url}/a/prefix")  # 404


def test_a_local_store_that_is_none(tmp_path: Path) -> None:
    check_available(f"sqlite:///{tmp_path / 'mlflow.db'}")  # is made
    (tmp_path / "text.db").write_text("no database at all, but long enough to be looked at" * 100)
    assert why(f"sqlite:///{tmp_path / 'text.db'}").endswith("text.db: file is not a database")
    (tmp_path / "folder.db").mkdir()
    assert why(f"sqlite:///{tmp_path / 'folder.db'}").startswith(
        f"MLflow's database cannot be read: {tmp_path / 'folder.db'}: is a folder where a file must be"
    )
