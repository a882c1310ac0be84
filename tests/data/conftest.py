"""No test here waits for the disk: other tests check that files are flushed in the right order."""

import pytest


@pytest.fixture(autouse=True)
def _no_flush(monkeypatch):
    monkeypatch.setattr("os.fsync", lambda _: None)
