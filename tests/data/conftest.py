"""Nothing here waits for the disk: that flushing happens in the right order is not what these worlds are about."""

import pytest


@pytest.fixture(autouse=True)
def _no_flush(monkeypatch):
    monkeypatch.setattr("os.fsync", lambda _: None)
