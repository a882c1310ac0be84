"""The benchmark of mixtures: a small corpus, both ways of searching, and the section of the page."""

from pathlib import Path

import pytest
from benchmarks.index import mixture


def test_both_ways_are_measured_and_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(mixture, "_SEEN", 30)
    monkeypatch.setattr(mixture, "_TUNING_USERS", 30)
    record = mixture.measure("latent", 800, users=3, rounds=1, work=tmp_path)
    ways = {(one["engine"], one["way"]): one for one in record["figures"]["ways"]}
    assert ways["exact", "one search"]["overlap"] == 1
    assert 0.8 < ways["inverted", "each vector"]["overlap"] <= 1
    assert all(one["shortest"] == mixture.N for one in ways.values())
    lines = mixture.section([record])
    assert lines[0] == "## One search for all vectors of a user"
    assert sum(line.startswith("| 800 latent | inverted |") for line in lines) == 4
    assert mixture.section([]) == []
