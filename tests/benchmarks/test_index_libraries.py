"""Several vectors in other libraries: those that are installed are measured beside this one, and shown."""

import pytest
from benchmarks.index import libraries


def test_faiss_and_this_library_are_measured_and_shown(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(libraries, "_USERS", 20)
    monkeypatch.setattr(libraries, "N", 20)
    missing = libraries.Library("nobody has it", "no-such-package", lambda _: pytest.fail("is not built"))
    monkeypatch.setattr(libraries, "LIBRARIES", (*libraries.LIBRARIES[:2], missing))
    record = libraries.measure("latent", 2_000, rounds=1)
    found = {one["name"]: one for one in record["libraries"]}
    assert set(found) == {"FAISS, inverted lists of codes", "FAISS, HNSW", "multitudes"}
    assert all(one["recall"] > 0.8 for one in found.values())
    assert all(one["all"]["median"] > 0 for one in found.values())
    lines = libraries.section([record])
    assert sum(line.startswith("| 2,000 latent |") for line in lines) == 3
    assert libraries.section([]) == []
