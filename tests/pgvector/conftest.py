"""One real server for all tests of this folder."""

from collections.abc import Iterator

import pytest

from tests.pgvector.server import BIN, WHY_NOT, Server


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """Start a server with its own data and port; its address and its password are in the environment."""
    psycopg = pytest.importorskip("psycopg", reason="psycopg is not installed: pip install ./packages/pgvector")
    if BIN is None:
        pytest.skip(WHY_NOT)
    started = Server()
    try:
        started.start()
        with pytest.MonkeyPatch.context() as patch:
            for name, value in started.variables().items():
                patch.setenv(name, value)
            with psycopg.connect("", autocommit=True) as connection:
                connection.execute("CREATE EXTENSION vector")
            yield started
    finally:
        started.close()
