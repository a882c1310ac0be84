"""One real server for all tests of this folder."""

from collections.abc import Iterator

import pytest

from tests.milvus.server import PASSWORD, Server


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Start a server with its own data and ports; ended by its process id, also when tests fail."""
    started = Server(tmp_path_factory.mktemp("milvus"))
    try:
        yield started.start()
    finally:
        started.stop()


@pytest.fixture(scope="session")
def uri(server: Server) -> Iterator[str]:
    """Return where the server is; its address and its password are in the environment."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MILVUS_TOKEN", PASSWORD)
        patch.setenv("MILVUS_URI", server.uri)
        yield server.uri
