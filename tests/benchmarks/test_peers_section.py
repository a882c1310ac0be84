import re

import pytest
from benchmarks.page import page
from benchmarks.peers.exchange import Settings


def spread(median):
    return {"median": median, "min": median, "max": median, "repeats": 1}


def system(name, ours, rate, hit_rates):
    return {
        "name": name,
        "ours": ours,
        "licence": "MIT",
        "versions": {"library": "1.2"},
        "targets_an_epoch": 1000,
        "targets_per_s": {"wall": spread(rate / 2), "cpu": spread(rate)},
        "pass_s": {"wall": spread(2.0), "cpu": spread(1000 / rate)},
        "peak_mib": 64.0,
        "epochs": len(hit_rates),
        "best_epoch": 1 + hit_rates.index(max(hit_rates)),
        "course": [{"cpu_s": 10.0 * (i + 1), "hr@100": rate} for i, rate in enumerate(hit_rates)],
    }


def record(rate=700.0, gain=(-0.1, 0.1), popularity=0.3):
    popular = {"mean": popularity, "low": popularity - 0.1, "high": popularity + 0.1}
    interval = {"mean": 0.5, "low": 0.4, "high": 0.6}
    compared = {
        "name": "toy",
        "settings": Settings()._asdict(),
        "data": {"users": 3, "items": 5, "training_events": 1000},
        "asked": {"users": 2, "targets": 4},
        "reference": "own",
        "systems": [
            system("own", True, rate, [0.3, 0.5]),
            system("slow", False, 10.0, [0.1]),
            system("fast", False, 100.0, [0.1, 0.2, 0.3, 0.2]),
            {"name": "gone", "ours": False, "failed": "ended with 1: no module"},
        ],
        "quality": {name: {"hr@100": interval} for name in ("own", "slow", "fast")}
        | {"popularity": {"hr@100": popular}},
        "reference_minus": {
            name: {"hr@100": {"mean": 0.0, "low": gain[0], "high": gain[1]}} for name in ("popularity", "slow", "fast")
        },
    }
    return {
        "name": "peers",
        "quick": False,
        "when": "2026-01-01 00:00 UTC",
        "machine": {"cpu": "Abacus 7", "cores": 2, "memory_gib": 8.0, "os": "Some OS"},
        "load": {"before": 0.5, "after": 0.5},
        "versions": {"python": "3.11", "commit": "abc"},
        "seeds": [3],
        "threads": 1,
        "figures": {"sets": [compared]},
    }


def test_every_system_has_its_rate_and_its_quality_and_a_failure_is_told():
    shown = page([record()], "a.json")
    assert "| fast (library 1.2) | MIT | 1,000 | 50 | 100 | 10 | 64 |" in shown
    assert "| **own** | MIT | 1,000 | 350 | 700 | 1.43 | 64 |" in shown
    assert "| fast | 3 of 4 | 30 | 0.500 (0.400–0.600) | 0.000 (-0.100–0.100) |" in shown
    assert "| popularity |  |  | 0.300" in shown
    assert "gone failed: ended with 1: no module" in shown


def test_the_fastest_peer_is_the_one_that_we_are_held_to_at_its_quality():
    shown = page([record()], "a.json")
    assert "own to fast: 7 × the targets, 7 × the passes. Met." in shown
    assert "To an HR@100 of 0.300, the lower of their two best, own took 10 CPU s and fast 30: 3 ×." in shown


@pytest.mark.parametrize(("rate", "gain"), [(400.0, (-0.1, 0.1)), (700.0, (-0.2, -0.1))])
def test_the_goal_is_missed_by_a_lower_rate_or_by_lower_quality(rate, gain):
    assert re.search(r"passes\. Not met\.", page([record(rate, gain)], "a.json"))


def test_a_peer_that_is_no_better_than_popularity_shows_no_equal_quality():
    shown = page([record(popularity=0.45)], "a.json")
    assert "Met in speed; equal quality is not shown, since fast was no better than popularity" in shown


def test_a_record_of_another_commit_than_the_first_says_so():
    start = record() | {"name": "start", "figures": {"ms": {}}}
    assert "commit abc." not in page([start, record()], "a").partition("## Peers")[2]
    other = record() | {"versions": {"python": "3.11", "commit": "def"}}
    assert "commit def." in page([start, other], "a").partition("## Peers")[2]


@pytest.mark.parametrize(("rate", "found"), [(50.0, "own 0.5 × (not met)"), (150.0, "own 1.5 × (met)")])
def test_with_one_target_ours_are_held_to_the_peers_that_train_so_alone(rate, found):
    made = record(rate) | {"name": "peers-one-target"}
    for name, other in (("torch-rechub MIND", 2), ("RecTools SASRec", 1)):
        made["figures"]["sets"][0]["systems"][other]["name"] = name
    made["figures"]["sets"][0]["systems"][1]["targets_per_s"]["cpu"] = spread(900.0)  # every event is its target
    text = page([made], "some.json")
    assert "## Peers, one target per history" in text
    assert f"as torch-rechub MIND, the faster of the two. Found: {found}." in text
