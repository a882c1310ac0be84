"""The benchmark of random worlds: a few of them, and the section of the page."""

from benchmarks.index import worlds


def test_worlds_are_measured_beside_their_control_and_shown():
    record = worlds.measure(2)
    figures = record["figures"]
    assert figures["worlds"] + figures["fell_back"] == 2
    assert figures["users"] == 48 * figures["worlds"] > 0
    assert figures["one_search"]["short"] == 0
    assert figures["control"]["mean"] < figures["one_search"]["mean"]
    assert 0.9 < figures["one_search"]["least_world"] <= figures["one_search"]["mean"] <= 1
    lines = worlds.section([record])
    assert lines[0] == "## Random worlds against brute force"
    assert any(line.startswith("| one search | 0 |") for line in lines)
    assert worlds.section([]) == []
