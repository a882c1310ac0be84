"""The comparison with other libraries, with a peer that any environment can run in their place."""

import json
import sys
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
from benchmarks.peers import __main__ as comparison
from benchmarks.peers import export
from benchmarks.peers.exchange import Sequences, Settings
from benchmarks.peers.page import page
from benchmarks.peers.systems import System
from benchmarks.peers.trials import check_lists

from multitudes.errors import DataError
from tests.worlds import planted

PEER = "tests.benchmarks.popular_peer"
FAKES = (
    System("EASE", "works", ({"regularisation": 300},), PEER),
    System("popularity", "popularity", ({},)),
    System("popular peer", "works", ({"batch_size": 8}, {"batch_size": 16}), PEER),
    System("broken peer", "broken", ({},), PEER),
)


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    folder = tmp_path_factory.mktemp("peers")
    given = Namespace(work=folder / "work", out=folder / "out.json", trials=1, cpu_s=60.0, python=Path(sys.executable))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(comparison, "SYSTEMS", FAKES)
        patch.setattr(comparison, "BASE", Settings(places=100, epochs=9, patience=2))
        prepared = planted()[1]
        comparison._run_set(prepared, list(FAKES), given)
        patch.setattr(comparison, "run_trial", lambda *_: pytest.fail("a finished trial was repeated"))
        comparison._run_set(prepared, list(FAKES[:3]), given)
    return json.loads(given.out.read_text())["validation"][prepared.path.name]


def test_a_system_is_shown_with_its_best_pass_beside_the_reference_and_a_failure_is_told(record):
    told = record["systems"]["popular peer"]
    assert (told["stopped"], told["passes"], told["best_pass"]) == ("converged", 3, 1)  # the second answers backwards
    assert told["hit_rates"][0] == pytest.approx(told["figures"]["hr@100"]["mean"], abs=1e-4)
    assert told["figures"]["hr@100"]["mean"] > told["figures"]["hr@10"]["mean"] > 0
    assert told["minus_reference"]["hr@100"] == {"mean": 0, "low": 0, "high": 0}
    assert record["systems"]["broken peer"]["failed"] == "ended with 1: no peer here"
    assert record["systems"]["popularity"]["figures"] == told["figures"], "theirs are judged as ours are"


def test_the_page_says_what_is_missing_and_what_is_no_comparison(record):
    shown = page({"toy": record})
    assert "No comparison yet, since not above popularity: EASE, popular peer." in shown
    assert "| not run |" in shown


def test_a_peer_gets_no_target_and_no_item_twice_in_a_list():
    prepared = planted()[1]
    held = export.evaluated_users(prepared)
    task = export.export_task(prepared, held)
    known = [set(task.held.item[a:b]) for a, b in zip(task.held.offset[:-1], task.held.offset[1:], strict=True)]
    targets = np.split(held.target, held.target_offset[1:-1])
    assert all(past and past.isdisjoint(wanted) for past, wanted in zip(known, targets, strict=True))
    seen = Sequences(np.array([4, 7]), np.array([0, 2, 5]), np.array([1, 2, 3, 4, 5]))
    check_lists(np.array([[3, 0], [1, 2]]), seen, 6, "lists")
    with pytest.raises(DataError, match="user 4 gets an item twice or one that is in the history"):
        check_lists(np.array([[3, 2], [1, 2]]), seen, 6, "lists")
