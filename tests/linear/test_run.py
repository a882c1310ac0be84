"""The method ``linear``: fitted, opened, refitted, and served as it was evaluated, without torch."""

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_array

from multitudes.batches.held_out import held_out_users
from multitudes.cli.main import run as command
from multitudes.data.prepared import PreparedData
from multitudes.errors import ArtefactError, DataError, UsageError
from multitudes.evaluation.config import EvaluateConfig
from multitudes.evaluation.evaluate import evaluate
from multitudes.linear import fit as linear_fit
from multitudes.linear import run as linear_run
from multitudes.linear.ease import EaseSpectrum
from multitudes.linear.elsa import Elsa
from multitudes.linear.fit import EXPONENTS, GRID, NORMALISATIONS, RECENCIES
from multitudes.linear.history import LinearFactors, LinearFit
from multitudes.linear.interactions import interaction_matrix
from multitudes.linear.run import CUTOFF, LinearConfig, LinearRun, Validation, make_linear_run
from multitudes.publishing.publish import publish
from multitudes.retrieval.item_updates import add_items
from multitudes.retrieval.request import Request
from multitudes.retrieval.retriever import Retriever
from multitudes.run_record import read_record
from multitudes.state.protocol import Event, UserState
from multitudes.training.runs import open_run
from tests.worlds import planted_days

RANK = 8
SETTINGS = LinearConfig(rank=RANK)
RIDGE, NORMALISATION, RECENCY = 5.0, 0.25, 0.5  # what `made` has to choose from


def made(prepared: PreparedData, out: Path, **how: Any) -> LinearRun:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("GRID", RIDGE), ("NORMALISATIONS", NORMALISATION), ("RECENCIES", RECENCY)):
            patch.setattr(linear_fit, name, (value,))
        patch.setattr(linear_fit, "EXPONENTS", ())
        return make_linear_run(prepared, out, SETTINGS, **how)


def factors_of(prepared: PreparedData, ridge: float, normalisation: float, *, final: bool = False) -> LinearFactors:
    matrix = interaction_matrix(prepared, include_validation=final)
    return EaseSpectrum(matrix, RANK, normalisation).factors(ridge)


@pytest.fixture(scope="module")
def run(prepared: PreparedData, tmp_path_factory: pytest.TempPathFactory) -> LinearRun:
    return made(prepared, tmp_path_factory.mktemp("run") / "run")


def brute_force_scores(run: LinearRun, items: list[int]) -> np.ndarray:
    """Return the score of every item for a user who engaged with ``items``, oldest first."""
    sum_R, recency = np.zeros(RANK), run.linear.weights.recency
    for later, item in enumerate(reversed(items)):
        sum_R += (1 + later) ** -recency * run.linear.input_IR[item].astype(np.float64)
    return np.asarray(run.linear.output_IR @ sum_R)


def scores(answer) -> dict[int, float]:
    return {candidate.item_id: candidate.score for candidate in answer.candidates if candidate.source != "popular"}


def assert_served(answer, run: LinearRun, items: list[int], hidden: Sequence[int] = ()) -> None:
    """Check that the candidates have the scores of the sum over ``items``, and are the best that are unseen."""
    expected, number = brute_force_scores(run, items), numbers(run.prepared)
    found = scores(answer)
    assert found
    for item_id, score in found.items():
        assert score == pytest.approx(expected[number[item_id]], rel=1e-4, abs=1e-5)
    unseen = np.setdiff1d(np.flatnonzero(run.linear.output_IR.any(axis=1)), [*items, *hidden])
    best = np.sort(expected[unseen])[::-1][: len(found)]
    np.testing.assert_allclose(sorted(found.values(), reverse=True), best, rtol=1e-4, atol=1e-5)


def numbers(prepared: PreparedData) -> dict[int, int]:
    return {item: i for i, item in enumerate(prepared.items["item_id"].to_list(), start=1)}


def entire_history(prepared: PreparedData, user: int) -> list[int]:
    """Return the items with an event of positive weight, by their newest: in this world some events are hides."""
    return newest_last(prepared, range(prepared.event_offset[user], prepared.event_offset[user + 1]))


def newest_last(prepared: PreparedData, events: range) -> list[int]:
    newest = {int(prepared.event_item[event]): event for event in events if prepared.event_weight[event] > 0}
    return [item for item in sorted(newest, key=lambda item: newest[item]) if item]


def test_a_run_is_opened_as_it_was_made_with_every_item_that_has_a_training_event(run, prepared):
    opened = open_run(run.path)
    assert isinstance(opened, LinearRun)
    assert opened.config == run.config
    np.testing.assert_array_equal(opened.item_vectors(), run.item_vectors())
    expected = factors_of(prepared, RIDGE, NORMALISATION)
    np.testing.assert_allclose(run.item_vectors(), expected.output_IR, atol=1e-5)
    has_event = np.asarray(interaction_matrix(prepared).sum(axis=0)) > 0
    np.testing.assert_array_equal(run.item_vectors().any(axis=1), has_event)


def test_its_vectors_are_better_than_popularity(run: LinearRun) -> None:
    config = EvaluateConfig(split="test", budgets=(10,))
    methods = evaluate(run, config).result["methods"]
    assert methods["linear"]["hr@10"]["mean"] > 1.2 * methods["popularity"]["hr@10"]["mean"]


def test_validation_chooses_regularisation_and_recency(prepared: PreparedData, tmp_path: Path) -> None:
    record = read_record(make_linear_run(prepared, tmp_path / "run", SETTINGS).path)
    names = ("model", "regularisation", "normalisation", "recency")
    trials = {tuple(trial[name] for name in names): trial["hit_rate"] for trial in record["trials"]}
    first = list(product(["ease"], GRID, NORMALISATIONS[:1], RECENCIES[:1]))
    _, ridge, *_ = max(first, key=trials.__getitem__)  # the others are tried with the best of those before
    second = list(product(["ease"], [ridge], NORMALISATIONS, RECENCIES[:1]))
    second += product(["elsa"], [0.0], EXPONENTS, RECENCIES[:1])
    *best, _ = max(second, key=trials.__getitem__)
    assert set(trials) == {*first, *second, *product(*([one] for one in best), RECENCIES)}
    chosen = tuple(record[name] for name in names)
    assert trials[chosen] == max(trials.values()) == record["validation_hit_rate"]
    assert record["judged_users"] > 0


def test_the_hit_rate_is_that_of_a_brute_force_ranking(run: LinearRun, prepared: PreparedData) -> None:
    held = held_out_users(prepared, "validation")
    hits = targets = 0
    for b, user in enumerate(held.user_B.tolist()):
        past = range(prepared.event_offset[user], held.end_B[b])
        score_I = brute_force_scores(run, newest_last(prepared, past))
        score_I[prepared.event_item[past.start : past.stop]] = -np.inf
        score_I[~run.linear.output_IR.any(axis=1)] = -np.inf
        best = np.argsort(-score_I)[:CUTOFF]
        own = slice(held.target_offset[b], held.target_offset[b + 1])
        first_time = held.target[own][held.target_is_first_time[own]]
        hits, targets = hits + int(np.isin(first_time, best).sum()), targets + len(first_time)
    factors = LinearFactors(run.linear.input_IR, run.linear.output_IR)
    assert Validation.sample(prepared).hit_rate(factors, RECENCY) == pytest.approx(hits / targets, abs=1 / targets)


@pytest.mark.parametrize("model", ["ease", "elsa"])
def test_a_refit_takes_the_chosen_model_and_validation_events(prepared, tmp_path, monkeypatch, model: str) -> None:
    if model == "elsa":
        nothing = np.zeros((prepared.n_items + 1, RANK), dtype=np.float32)
        monkeypatch.setattr(EaseSpectrum, "factors", lambda *_: LinearFactors(nothing, nothing))
    else:
        monkeypatch.setattr(linear_fit, "EXPONENTS", ())
    chosen = make_linear_run(prepared, tmp_path / "run", SETTINGS)
    again = make_linear_run(prepared, tmp_path / "final", refit=chosen.path)
    record = read_record(again.path)
    assert record["model"] == model
    assert LinearFit.of(record) == LinearFit.of(read_record(chosen.path))
    assert record["validation_hit_rate"] is None
    if model == "elsa":
        matrix = interaction_matrix(prepared, include_validation=True)
        expected = Elsa(matrix, RANK).factors(record["normalisation"])
    else:
        expected = factors_of(prepared, record["regularisation"], record["normalisation"], final=True)
    np.testing.assert_allclose(again.item_vectors(), expected.output_IR, atol=1e-5)


def test_a_run_is_neither_replaced_nor_made_again_unasked(run: LinearRun, prepared: PreparedData, monkeypatch) -> None:
    with pytest.raises(UsageError, match="exists"):
        made(prepared, run.path)
    monkeypatch.setattr(linear_run, "fit", None)  # an opened run is not fitted
    made(prepared, run.path, resume=True)


@pytest.mark.parametrize("history", [[[0, 1], [0, 1]], [[0, 1, 0, 0], [0, 0, 1, 0]], [[0, 0, 0]]])
def test_items_without_users_in_common_are_rejected(prepared: PreparedData, tmp_path, monkeypatch, history) -> None:
    matrix = csr_array(np.array(history, dtype=np.float32))
    monkeypatch.setattr(linear_run, "interaction_matrix", lambda *_, **__: matrix)
    with pytest.raises(DataError, match="no user engaged with two items"):
        made(prepared, tmp_path / "run")


def test_a_fit_beyond_the_memory_is_rejected_before_it_begins(prepared, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(linear_fit, "available_bytes", lambda: 1_000)
    assert command(["train", str(prepared.path), "--method", "linear", "--out", str(tmp_path / "run")]) == 5
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert re.search(r"a linear model \(ELSA\) of rank 64 .* needs \d\.\d GB of memory; 0\.0 GB are available", line)
    assert list(tmp_path.iterdir()) == []


def test_where_memory_is_too_small_for_ease_elsa_is_fitted_alone_and_said(
    prepared, tmp_path, monkeypatch, capsys
) -> None:
    monkeypatch.setattr(linear_fit, "available_bytes", lambda: 4 * prepared.n_items * 1_000)
    assert command(["train", str(prepared.path), "--method", "linear", "--out", str(tmp_path / "run")]) == 0
    assert re.search(r"warning: .*\(EASE\) .* GB are available, so it is not tried", capsys.readouterr().err)
    record = read_record(tmp_path / "run")
    assert {trial["model"] for trial in record["trials"]} == {record["model"]} == {"elsa"}


def test_damage_is_named(run: LinearRun, prepared: PreparedData, tmp_path: Path) -> None:
    broken = made(prepared, tmp_path / "run").path
    (broken / "linear_output.npy").unlink()
    with pytest.raises(ArtefactError, match=r"linear_output\.npy: missing; train again"):
        open_run(broken)


def test_the_served_sum_is_over_the_entire_history(run: LinearRun, releases: Path, prepared: PreparedData) -> None:
    retriever = Retriever.open(releases)
    lengths = []
    for user in (0, 5, 17):
        items = entire_history(prepared, user)
        lengths.append(len(items))
        assert_served(
            retriever.recommend(prepared.user_ids[user], n=10), run, items, retriever.release.seen_items(user).tolist()
        )
    assert max(lengths) > 1, "more than the events that the release keeps"


def test_live_events_join_the_sum_and_hides_do_not(run: LinearRun, releases: Path, prepared: PreparedData) -> None:
    retriever, user = Retriever.open(releases), 5
    ids, name = prepared.items["item_id"], prepared.user_ids[user]
    before, seen = entire_history(prepared, user), retriever.release.seen_items(user).tolist()
    new, hidden = np.setdiff1d(np.arange(1, prepared.n_items + 1), seen)[:2].tolist()
    events = (
        Event("a", name, ids[new - 1], 2_000_000_000),
        Event("b", name, ids[new - 1], 2_000_000_001),  # a repeat counts once
        Event("c", name, ids[before[0] - 1], 2_000_000_002),  # so does an item of the release, which is the newest now
        Event("d", name, ids[hidden - 1], 2_000_000_003, "hide"),
        Event("e", name, 10**9, 2_000_000_004),  # an item that nobody knows
    )
    answer = retriever.answer([Request(name, user_state=UserState(name, events), n=10)])[0]
    assert_served(answer, run, [*before[1:], new, before[0]], [*seen, hidden])


def test_every_kind_of_user_is_the_sum_of_the_known_history_or_gets_popular_items(run, releases, prepared):
    retriever, name, ids = Retriever.open(releases), prepared.user_ids[5], prepared.items["item_id"]
    state = UserState(name, (Event("a", name, ids[6], 2_000_000_000),), erased=True)
    assert_served(retriever.answer([Request(name, user_state=state, n=10)])[0], run, [7])
    ids = prepared.items["item_id"]
    history = [ids[2], ids[8], ids[2], ids[4]]
    assert_served(Retriever.open(releases).recommend(history=history, n=10), run, [9, 3, 5])
    retriever = Retriever.open(releases)
    for answer in (retriever.recommend(history=[], n=5), retriever.recommend(-1, n=5)):
        assert len(answer.candidates) == 5
        assert {candidate.source for candidate in answer.candidates} == {"popular"}


def test_appended_days_join_the_sum_and_a_continued_run_serves_its_own_weights(tmp_path: Path) -> None:
    days = planted_days()
    before = made(days.early, tmp_path / "before")
    call = ["train", str(days.every.path), "--continue", str(before.path), "--out", str(tmp_path / "after")]
    assert command(call) == 0
    after, ids = LinearRun.open(tmp_path / "after"), days.every.items["item_id"]
    expected = factors_of(days.every, RIDGE, NORMALISATION, final=True)
    np.testing.assert_allclose(after.item_vectors(), expected.output_IR, atol=1e-5)
    for run in (made(days.every, tmp_path / "anew"), after):
        publish(run.path, tmp_path / "releases" / run.path.name)
        retriever = Retriever.open(tmp_path / "releases" / run.path.name)
        for user in range(0, days.every.n_users, 7):
            items, name = days.history(user), days.every.user_ids[user]
            seen = retriever.release.seen_items(user).tolist()
            assert set(items) <= set(seen)
            assert_served(retriever.recommend(name, n=10), run, items, seen)
            live = Event("a", name, ids[items[0] - 1], 2_000_000_000)
            answer = retriever.answer([Request(name, user_state=UserState(name, (live,)), n=10)])[0]
            assert_served(answer, run, [*items[1:], items[0]], seen)


def test_new_items_are_rejected_with_the_reason(releases: Path, tmp_path: Path) -> None:
    file = tmp_path / "new.csv"
    file.write_text("item_id,title\n999999,New\n")
    with pytest.raises(UsageError, match="users of the training data"):
        add_items(releases, file)


def test_the_whole_path_needs_no_torch(prepared: PreparedData, tmp_path: Path) -> None:
    code = """
import sys
for name in ("torch", "safetensors", "onnx", "onnxscript"):
    sys.modules[name] = None
from multitudes.cli.main import run
prepared, out = sys.argv[1:]
assert run(["train", prepared, "--method", "linear", "--out", f"{out}/run"]) == 0
assert run(["train", prepared, "--refit", f"{out}/run", "--out", f"{out}/final"]) == 0
assert run(["train", prepared, "--continue", f"{out}/run", "--out", f"{out}/next"]) == 0
assert run(["evaluate", f"{out}/run", "--set", "evaluate.max_users=20"]) == 0
assert run(["publish", f"{out}/final", "--to", f"{out}/releases"]) == 0
assert run(["recommend", f"{out}/releases", "--user", "3", "--n", "5"]) == 0
assert run(["recommend", f"{out}/releases", "--all", "--n", "5", "--out", f"{out}/all"]) == 0
"""
    call = [sys.executable, "-c", code, str(prepared.path), str(tmp_path)]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "regularisation" in done.stdout
    assert json.loads((tmp_path / "run" / "evaluation-test.json").read_text())["method"] == "linear"
