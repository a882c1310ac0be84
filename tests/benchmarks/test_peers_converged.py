import json
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmarks.peers import converged
from benchmarks.peers.converged_page import page
from benchmarks.peers.exchange import Report, Settings, hit_rate, write_targets
from benchmarks.peers.systems import SYSTEMS, System

from tests.worlds import planted

PEER = "tests.benchmarks.popular_peer"
FAKES = (
    System("EASE", "works", ({"regularisation": 300},), PEER, "none"),
    System("popular peer", "works", ({"batch_size": 8}, {"batch_size": 16}), PEER, "none"),
    System("broken peer", "broken", ({},), PEER, "none"),
    System("later peer", "works", ({},), PEER, "none"),
)


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    folder = tmp_path_factory.mktemp("converged")
    given = Namespace(work=folder / "work", out=folder / "out.json", trials=1, cpu_s=60.0, python=Path(sys.executable))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(converged, "SYSTEMS", FAKES)
        patch.setattr(converged, "BASE", Settings(places=100, epochs=9, patience=2))
        prepared = planted()[1]
        converged._run_set(prepared, list(FAKES[:3]), given)
        patch.setattr(converged, "run_trial", lambda *_: pytest.fail("a finished trial was repeated"))
        converged._run_set(prepared, list(FAKES[:2]), given)
    return json.loads(given.out.read_text())["validation"][prepared.path.name]


def test_a_system_is_shown_with_its_best_pass_and_stops_when_validation_has_not_risen(record):
    told = record["systems"]["popular peer"]
    assert (told["stopped"], told["passes"], told["best_pass"]) == ("converged", 3, 1)  # the second answers backwards
    assert told["hit_rates"][0] == pytest.approx(told["figures"]["hr@100"]["mean"], abs=1e-4)
    assert len(told["trials"]) == 1
    assert told["figures"]["hr@100"]["mean"] > told["figures"]["hr@10"]["mean"] > 0


def test_others_are_compared_with_the_reference_and_a_failure_is_told(record):
    assert record["systems"]["EASE"]["minus_reference"] == {}
    assert record["systems"]["popular peer"]["minus_reference"]["hr@100"] == {"mean": 0, "low": 0, "high": 0}
    assert record["systems"]["broken peer"]["failed"] == "ended with 1: no peer here"
    assert "later peer" not in record["systems"]


def test_a_trial_is_repeated_where_more_time_is_given_or_it_was_stopped_by_hand(tmp_path):
    def finished(stopped, limit_s):
        told = {"stopped": stopped, "cpu_limit_s": 100.0}
        (tmp_path / "trial.json").write_text(json.dumps(told))
        return converged.is_finished(tmp_path, limit_s)

    assert not converged.is_finished(tmp_path / "none", 1)
    assert finished("converged", 200)
    assert finished("solved", 200)
    assert finished("time", 100)
    assert not finished("time", 200)
    assert not finished("interrupted", 100)
    assert not finished("failed", 100)


def test_the_hit_rate_that_training_stops_by_counts_targets_in_the_list_of_their_user():
    lists = np.array([[3, 5, 0], [5, 1, 2]])
    assert hit_rate(lists, np.array([0, 2, 5]), np.array([5, 9, 3, 1, 2])) == 3 / 5


@pytest.mark.parametrize(
    ("limits", "passes", "stopped"),
    [({"patience": 2}, 4, "converged"), ({"epochs": 3}, 3, "epochs"), ({"cpu_s": 2.0}, 2, "time")],
)
def test_training_goes_on_while_validation_rises_and_says_why_it_stopped(tmp_path, limits, passes, stopped):
    write_targets(np.array([0, 2]), np.array([1, 2]), tmp_path)
    report, settings = Report(tmp_path, ("numpy",)), Settings(epochs=9)._replace(**limits)
    lists = iter([[3, 4], [1, 3], [1, 4], [1, 5], [1, 2]])
    while report.more(settings):
        report.epoch(1, (1.0, 1.0), np.array([next(lists)]))
    told = json.loads((tmp_path / "report.json").read_text())
    assert (len(told["epochs"]), told["stopped"]) == (passes, stopped)


def interval(mean):
    return {"mean": mean, "low": mean - 0.01, "high": mean + 0.01}


def told(rate, trial, **more):
    return {
        "settings": trial,
        "stopped": "solved",
        "cpu_s": 20.0,
        "peak_mib": 500,
        "figures": {name: interval(rate) for name in ("hr@10", "hr@100", "ndcg@100")},
        "minus_reference": {"hr@100": interval(-0.1)},
        "run": {"load": {"before": 3.5, "after": 4.0}},
        "trials": [
            {"settings": trial, "hr@100": rate, "cpu_s": 20.0},
            {"settings": {"regularisation": rate}, "hr@100": 0.1, "cpu_s": 30.0},
        ],
    } | more


def test_the_page_says_what_is_missing_what_a_limit_ended_and_whether_both_ease_agree():
    ease = {"regularisation": 300}
    passes = {"passes": 9, "best_pass": 9, "best_cpu_s": 12.0, "cpu_limit_s": 1000.0, "stopped": "time"}
    systems = {
        "EASE": told(0.3, ease, minus_reference={}),
        "popularity": told(0.2, {}),
        "RecTools EASE corrected": told(0.2995, ease),
        "torch-rechub MIND": told(0.15, {}, **passes),
    }
    found = {
        "users": 3,
        "targets": 4,
        "data": {"users": 5, "items": 6, "training_events": 7},
        "machine": {"cpu": "Abacus 7", "cores": 2},
        "settings": Settings(patience=2)._asdict(),
        "reference": "EASE",
        "systems": systems,
    }
    shown = page({"toy": found})
    assert "| **EASE** | 0.300 (0.290–0.310) | 0.300 | 0.300 |  | 2 of 3 | solved | 20 | 50 | 500 |" in shown
    assert "| torch-rechub MIND | 0.150 (0.140–0.160) |" in shown
    assert "| pass 9 of 9, **limit of 1,000 CPU s** | 12 | 50 | 500 |" in shown
    assert "with the same regularisation (300): HR@100 at most 0.0005 apart." in shown
    assert "No comparison yet, since not above popularity: torch-rechub MIND." in shown
    missing = [system.name for system in SYSTEMS if system.default and system.name not in systems]
    assert shown.count("| not run |") == len(missing)


def test_systems_of_an_earlier_record_stay_if_data_and_settings_are_the_same():
    def measured(hr: float, trials: int = 1) -> dict[str, Any]:
        return {"figures": {"hr": hr}, "minus_reference": {"hr": -0.1}, "trials": [{}] * trials}

    same: dict[str, Any] = {"users": 3, "targets": 5, "data": {"items": 7}, "settings": {"width": 64}}
    earlier = same | {"systems": {"EASE": measured(0.1), "RecTools SASRec": measured(0.2), "iALS": measured(0.3, 3)}}
    now = same | {"systems": {"EASE": measured(0.1), "popularity": measured(0.0), "iALS": measured(0.2)}}
    merged = converged.with_earlier(now, earlier)["systems"]
    assert list(merged) == ["popularity", "EASE", "iALS", "RecTools SASRec"]
    assert merged["iALS"] == measured(0.3, 3), "more trials were made"
    assert merged["RecTools SASRec"]["minus_reference"] == {"hr": -0.1}
    other = now | {"systems": now["systems"] | {"EASE": measured(0.15)}}
    assert converged.with_earlier(other, earlier)["systems"]["RecTools SASRec"]["minus_reference"] == {}
    assert converged.with_earlier(now, earlier | {"settings": {"width": 32}}) == now
    assert converged.with_earlier(now, None) == now
