import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from benchmarks.machine import ROOT
from benchmarks.peers import PEERS, Peer, compare, exchange, export, score
from benchmarks.peers.exchange import Sequences, Settings, histories, read_task, top_items, write_task
from benchmarks.peers.ours import CpuShares, run_config

from multitudes.batches.held_out import held_out_users
from multitudes.errors import DataError, MissingError
from multitudes.evaluation.list_metrics import ItemFacts
from tests.worlds import planted

POPULAR = Peer("popular peer", "tests.benchmarks.popular_peer", "works", "none")
BROKEN = Peer("broken peer", "tests.benchmarks.popular_peer", "broken", "none")
TINY = Settings(width=8, history=10, negatives=16, epochs=3, places=100)


@pytest.fixture(scope="module")
def prepared():
    return planted()[1]


@pytest.fixture(scope="module")
def compared(prepared, tmp_path_factory):
    return compare.compare(
        prepared, ["single"], [BROKEN, POPULAR], TINY, Path(sys.executable), tmp_path_factory.mktemp("peers")
    )


def two_users():
    return Sequences(np.array([4, 7]), np.array([0, 2, 5]), np.array([1, 2, 3, 4, 5]))


def test_a_peer_gets_every_positive_training_event_and_none_that_is_held_out(prepared):
    given = export.export_task(prepared, export.evaluated_users(prepared, None, 0))
    for user in range(prepared.n_users):
        mine = slice(prepared.event_offset[user], prepared.event_offset[user + 1])
        item, split, weight = (
            values[mine] for values in (prepared.event_item, prepared.event_split, prepared.event_weight)
        )
        expected = item[(split == 0) & (item > 0) & (weight > 0)]
        assert given.train.item[slice(*given.train.offset[user : user + 2])].tolist() == expected.tolist()
    assert (prepared.event_weight == 0).any()


def test_a_held_out_user_comes_with_the_past_and_without_the_targets(prepared):
    held = export.evaluated_users(prepared, None, 0)
    given = export.export_task(prepared, held)
    known = [set(given.held.item[a:b]) for a, b in zip(given.held.offset[:-1], given.held.offset[1:], strict=True)]
    targets = np.split(held.target, held.target_offset[1:-1])
    assert all(past and past.isdisjoint(wanted) for past, wanted in zip(known, targets, strict=True))
    everything = held_out_users(prepared, "validation")
    assert everything.target_is_first_time.sum() == len(held.target) > len(held)


def test_what_is_written_is_read_again(prepared, tmp_path):
    given = export.export_task(prepared, export.evaluated_users(prepared, 5, 0))
    write_task(given, TINY, tmp_path)
    read, settings = read_task(tmp_path)
    assert settings == TINY
    assert (read.n_users, read.n_items, len(read.held.user)) == (prepared.n_users, prepared.n_items, 5)
    for mine, its in zip((*given.train, *given.held), (*read.train, *read.held), strict=True):
        assert (mine == its).all()


def test_histories_hold_the_newest_events_before_the_end():
    item = np.array([1, 2, 3, 4, 5])
    start, end = np.array([0, 2, 2, 2]), np.array([1, 5, 4, 2])
    assert histories(item, start, end, 2).tolist() == [[1, 0], [4, 5], [3, 4], [0, 0]]


def test_events_know_their_user_and_what_came_before():
    assert two_users().owners().tolist() == [0, 0, 1, 1, 1]
    assert two_users().ranks().tolist() == [0, 1, 0, 1, 2]


def test_the_best_items_leave_out_the_seen_ones_and_a_short_corpus_ends_in_zeros():
    scores = np.tile(np.array([99, 1, 5, 3, 2, 4], dtype=np.float32), (2, 1))
    assert top_items(scores, two_users(), 4).tolist() == [[5, 3, 4, 0], [2, 1, 0, 0]]


def test_a_peers_lists_are_judged_as_our_own_are(compared):
    ours, theirs = compared["quality"]["popularity"], compared["quality"]["popular peer"]
    assert theirs == ours
    assert theirs["hr@100"]["mean"] > 0
    assert compared["quality"]["single"] != ours


def test_the_best_epoch_is_the_one_whose_lists_hold_most(compared):
    peer = compared["systems"][2]
    assert (peer["epochs"], peer["best_epoch"]) == (3, 1)  # the second answers backwards, the third as the first
    rates = [epoch["hr@100"] for epoch in peer["course"]]
    assert rates[0] == rates[2] > rates[1]
    assert rates[0] == pytest.approx(compared["quality"]["popular peer"]["hr@100"]["mean"], abs=1e-4)


def test_a_peer_that_fails_is_told_and_the_others_go_on(compared):
    assert [system["name"] for system in compared["systems"]] == ["single", "broken peer", "popular peer"]
    assert compared["systems"][1]["failed"] == "ended with 1: no peer here"
    assert "broken peer" not in compared["quality"]


def test_rates_leave_out_the_first_epoch_and_count_targets():
    epochs = [{"targets": 9, "wall_s": 9.0, "cpu_s": 9.0}, {"targets": 10, "wall_s": 5.0, "cpu_s": 2.0}]
    told = compare._system_figures({"epochs": epochs, "hit_rates": [0.1, 0.2], "best_epoch": 2, "peak_mib": 1.0})
    assert told["targets_per_s"]["wall"]["median"] == 2
    assert told["targets_per_s"]["cpu"]["median"] == 5
    assert told["pass_s"]["cpu"]["median"] == 2
    assert told["course"] == [{"cpu_s": 9.0, "hr@100": 0.1}, {"cpu_s": 11.0, "hr@100": 0.2}]


def test_every_epoch_has_its_own_share_of_the_processor(monkeypatch):
    wall, cpu = iter([0.0, 4.0, 10.0, 12.0]), iter([0.0, 1.0, 5.0, 7.0])
    clocks = SimpleNamespace(perf_counter=lambda: next(wall), process_time=lambda: next(cpu))
    monkeypatch.setattr("benchmarks.peers.ours.time", clocks)
    shares = CpuShares()
    for done, epoch in ((1, 1), (3, 1), (4, 2), (6, 2)):
        shares(done, 6, f"epoch {epoch} of 2, single 6.9")
    shares(1, 4, "regularisation 100")
    assert shares.of_epochs == [0.25, 1.0]


def test_our_methods_are_trained_with_the_settings_of_the_peers():
    run = run_config("joint", Settings(width=32, history=20, negatives=100, interests=3, epochs=7))
    assert (run.model.width, run.model.history, run.model.interests) == (32, 20, 3)
    assert (run.train.in_batch + run.train.uniform, run.train.epochs, run.train.epoch_batches) == (100, 7, 0)


@pytest.mark.parametrize(
    ("lists", "said"),
    [
        ([[3, 5]], "expected one for each of 2 users"),
        ([[3, 4], [1, 7]], "beyond 1 to 6"),
        ([[3, 4], [1, 1]], "user 7 gets an item twice"),
        ([[3, 2], [1, 2]], "user 4 gets an item twice or one that is in the history"),
    ],
)
def test_lists_that_would_be_judged_wrongly_are_refused(lists, said):
    with pytest.raises(DataError, match=said):
        score.check_lists(np.array(lists), two_users(), 6, "lists")
    score.check_lists(np.array([[3, 0], [1, 2]]), two_users(), 6, "lists")


def test_without_the_peers_environment_the_command_that_makes_it_is_named(prepared, tmp_path):
    with pytest.raises(MissingError, match="make bench-peers"):
        compare.compare(prepared, ["single"], PEERS, TINY, tmp_path / "python", tmp_path)


def test_peers_are_run_with_what_their_requirements_name():
    wanted = (ROOT / "benchmarks" / "peers" / "requirements.txt").read_text()
    for peer in PEERS:
        library = peer.name.partition(" ")[0].lower()
        assert f"{library}==" in wanted.replace("[torch]", "")
        assert peer.licence in next(line for line in wanted.splitlines() if line.startswith(library))


PYTHON = ROOT / ".venv-peers" / "bin" / "python"


@pytest.mark.slow
@pytest.mark.skipif(not PYTHON.exists(), reason="no .venv-peers here: make bench-peers")
@pytest.mark.parametrize("peer", [PEERS[0], PEERS[1]], ids=lambda peer: peer.name)
def test_a_peer_trains_on_every_target_and_answers_everybody(peer, prepared, tmp_path):
    given = export.export_task(prepared, export.evaluated_users(prepared, 20, 0))
    write_task(given, Settings(width=8, history=10, negatives=16, epochs=1, places=50), tmp_path)
    assert compare._run(peer, tmp_path, PYTHON, 1) is None
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["epochs"][0]["targets"] == (given.train.ranks() > 0).sum()
    found = score.learning_curve(
        tmp_path, 1, export.evaluated_users(prepared, 20, 0), given.held, ItemFacts.from_prepared(prepared)
    )
    assert (found.list_BN > 0).all()
    assert exchange.lists_file(tmp_path, 1).exists()
