"""One store for all tests of this folder, and the environment variables for it."""

import pytest

from tests.objects.store import Store


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    """Who asks, as a person has it in the environment; nobody asks a machine of a cloud who it is."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setattr("os.fsync", lambda _: None)


@pytest.fixture(scope="session")
def _running():
    store = Store()
    yield store
    store.stop()


@pytest.fixture
def store(_running, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{_running.host}")
    return _running
