"""The entire protocol on worlds whose hits can be counted by hand."""

import json
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import numpy as np
import polars as pl
import pytest

from multitudes.errors import DataError
from multitudes.evaluation.baselines import BASELINES
from multitudes.evaluation.config import EvaluateConfig, feasible_budgets, main_budget
from multitudes.evaluation.evaluate import evaluate, save, strongest_baseline
from multitudes.evaluation.protocol import Evaluator
from multitudes.report.evaluation_tables import heading
from multitudes.retrieval.config import RetrieveConfig
from tests.evaluation.worlds import FakeRun, prepared

ITEMS = 12
PAST = [[1, 2], [1, 3], [1, 2, 3], [4]]
# Users 0–2 want two new items each (and item 1 again); user 3 only repeats.
FUTURE = [[5, 6, 1], [7, 8, 1], [9, 10, 1], [4]]
WANTED = [[5, 6], [7, 8], [9, 11], [4, 1]]  # both, both, one of two, nothing new
CONFIG = EvaluateConfig(budgets=(2, 4), controls="all_budgets")
ROUND_ROBIN = RetrieveConfig(blend="round_robin", unconditioned_share=0, explicit_share=0)


def world(tmp_path, wanted=None, wanted_at_random=None, past=PAST, future=FUTURE):
    topics = [[item % 3 + 1] for item in range(1, ITEMS + 1)]
    topics += [[9]]  # so that there are topics to follow for every user; nobody wants this item
    data = prepared(tmp_path, past, future, topics, follows=[[user + 1] for user in range(len(PAST))])
    return FakeRun(tmp_path, data, WANTED if wanted is None else wanted, wanted_at_random)


def mean(result, method, figure):
    return result["methods"][method][figure]["mean"]


def test_hits_are_counted_in_the_whole_budget_for_first_time_and_for_all_targets(tmp_path):
    result = evaluate(world(tmp_path), CONFIG, ROUND_ROBIN).result
    assert (result["targets"], result["users"], result["n_targets"]) == ("new", 3, 6)
    assert mean(result, "clustering", "hr@2") == pytest.approx(5 / 6, abs=1e-6)
    assert mean(result, "clustering", "recall@2") == pytest.approx(5 / 6, abs=1e-6)
    everything = result["all_targets"]
    assert (everything["targets"], everything["users"], everything["n_targets"]) == ("all", 4, 10)
    assert mean(everything, "clustering", "hr@2") == pytest.approx(6 / 10, abs=1e-6)  # 5 new ones and user 3's repeat
    for block in (result, result["all_targets"]):
        for figures in block["methods"].values():
            assert (figures["candidates@2"]["mean"], figures["candidates@4"]["mean"]) == (2, 4)
    assert result["differences"]["random_partition"]["hr@2"] == {"mean": 0, "low": 0, "high": 0}
    assert "own_history" not in result["methods"]
    assert mean(result["all_targets"], "own_history", "hr@4") == pytest.approx(4 / 10)
    for segment in result["segments"].values():
        assert sum(part["targets"] for part in segment.values()) == result["n_targets"]
    short, long = (result["segments"]["history"][label]["methods"]["clustering"]["hr@4"] for label in ("1-9", "50+"))
    assert (short["mean"], long["mean"]) == (pytest.approx(5 / 6, abs=1e-6), None)
    sources = result["interests"]["sources"]
    assert [(s["source"], s["number"]) for s in sources] == [("popular", 0), ("implicit", 1), ("implicit", 2)]
    assert [s["hit_share"]["mean"] for s in sources] == [0, 0.6, 0.4]  # items 5, 7, 9 and items 6, 8
    assert [s["candidate_share"]["mean"] for s in sources] == [0, 0.5, 0.5]


def test_one_vector_at_the_same_budget_finds_one_taste_of_two(tmp_path):
    run = world(tmp_path)
    run.kinds = ("unconditioned", "implicit")
    shared = ROUND_ROBIN.model_copy(update={"unconditioned_share": 0.5})
    result = evaluate(run, EvaluateConfig(budgets=(2,), targets="new"), shared).result
    assert mean(result, "unconditioned", "hr@2") == pytest.approx(3 / 6)
    assert mean(result, "clustering", "hr@2") == pytest.approx(5 / 6, abs=1e-6)


def test_the_random_partition_control_has_its_own_vectors(tmp_path):
    run = world(tmp_path, wanted_at_random=[[12, 11], [12, 11], [12, 11], [12, 11]])
    result = evaluate(run, CONFIG, ROUND_ROBIN).result
    assert mean(result, "random_partition", "hr@2") == 0
    gain = result["differences"]["random_partition"]["hr@2"]
    assert gain["mean"] == pytest.approx(5 / 6, abs=1e-6)
    assert gain["low"] > 0


def test_the_history_is_excluded_only_for_first_time_targets(tmp_path):
    """The mean of two vectors is between a seen item and a target; the seen item has the smaller number."""
    run = world(tmp_path, wanted=[[2, 5], [3, 7], [3, 9], [4, 1]])
    result = evaluate(run, EvaluateConfig(budgets=(1, 2)), ROUND_ROBIN).result
    assert mean(result, "averaged", "hr@1") == pytest.approx(3 / 6)
    assert mean(result["all_targets"], "averaged", "hr@1") == pytest.approx(0)
    assert result["max_score"]["hr@1"]["mean"] == pytest.approx(3 / 6)


def test_the_places_of_a_budget_are_divided_by_the_weights(tmp_path):
    run = world(tmp_path)
    run.weights = (0.8, 0.2)  # of two places both go to the first vector, of four one goes to the second
    result = evaluate(run, CONFIG, ROUND_ROBIN).result
    assert mean(result, "clustering", "hr@2") == pytest.approx(3 / 6)
    assert mean(result, "clustering", "hr@4") == pytest.approx(5 / 6, abs=1e-6)


def test_controls_are_evaluated_at_the_main_budget_and_the_strongest_baseline_is_named(tmp_path):
    result = evaluate(world(tmp_path), EvaluateConfig(budgets=(2, 4)), ROUND_ROBIN).result
    assert (result["budget"], "hr@2" in result["methods"]["random_partition"]) == (4, False)
    assert {"hr@2", "hr@4"} <= result["methods"]["averaged"].keys() & result["methods"]["clustering"].keys()
    alone = EvaluateConfig(budgets=(2, 4), controls="none", baselines="cheap")
    none = evaluate(world(tmp_path), alone, ROUND_ROBIN).result
    assert set(none["methods"]) == {"clustering", "popularity", "recent_popularity", "covisit", "followed_topics"}
    for block in (result, result["all_targets"]):
        rates = {name: block["methods"][name]["hr@4"]["mean"] for name in BASELINES if name in block["methods"]}
        assert {"ease", "ials", "item_knn", "popularity"} <= rates.keys()
        assert rates[block["strongest_baseline"]] == max(rates.values())
    written = {"clustering": {"hr@4": {"mean": 1.0}}, "ease": {"hr@4": {"mean": 0.2}}, "ials": {"hr@4": {"mean": 0.3}}}
    assert strongest_baseline(written, 4) == "ials"
    assert result["baselines"].keys() == {"item_knn", "ease", "neighbours", "linear", "ials"}
    run = world(tmp_path)
    run.config.method = "linear"
    own = evaluate(run, EvaluateConfig(budgets=(2, 4)), ROUND_ROBIN).result
    assert own["baselines"].keys() == result["baselines"].keys() - {"linear"}
    assert own["methods"]["linear"] == result["methods"]["clustering"]
    rates = {name: own["methods"][name]["hr@4"]["mean"] for name in own["methods"].keys() & {*BASELINES} - {"linear"}}
    assert rates[own["strongest_baseline"]] == max(rates.values()), "a run is no baseline of itself"
    none = evaluate(world(tmp_path), EvaluateConfig(budgets=(2, 4), baselines="none"), ROUND_ROBIN).result
    assert none["strongest_baseline"] is None
    assert "popularity" not in none["methods"]


def test_without_repeats_only_first_time_targets_are_evaluated(tmp_path):
    data = prepared(tmp_path, [[1], [2]], [[3], [4]], [[1], [2]] * 5, follows=[[1], [2]])
    assert evaluate(FakeRun(tmp_path, data, WANTED), CONFIG, ROUND_ROBIN).result["all_targets"] is None


def test_no_figure_is_nan_and_a_user_without_vectors_gets_popular_items_and_misses_in_max_score(tmp_path):
    result = evaluate(world(tmp_path, wanted=[[0, 0]] * 4), CONFIG, ROUND_ROBIN).result
    assert result["max_score"]["hr@4"]["mean"] == 0
    assert mean(result, "clustering", "hr@4") == mean(result, "popularity", "hr@4")
    popular = next(source for source in result["interests"]["sources"] if source["source"] == "popular")
    assert popular["candidate_share"]["mean"] == 1
    json.dumps(result, allow_nan=False)
    assert np.isfinite(mean(result, "clustering", "hr@2"))


def test_every_user_has_the_figures_of_the_own_vectors_whoever_lacks_targets(tmp_path):
    wanted = [*WANTED[:3], [4, 0]]  # the user without a new target has one vector alone
    result = evaluate(world(tmp_path, wanted), CONFIG, ROUND_ROBIN).result
    (tmp_path / "reversed").mkdir()
    run = world(tmp_path / "reversed", wanted=wanted[::-1], past=PAST[::-1], future=FUTURE[::-1])
    in_reverse = evaluate(run, CONFIG, ROUND_ROBIN).result  # now the first user has no new target
    assert in_reverse["max_score"]["hr@2"]["mean"] == result["max_score"]["hr@2"]["mean"]
    assert mean(in_reverse, "clustering", "hr@2") == mean(result, "clustering", "hr@2")
    assert in_reverse["interests"] == result["interests"]


def test_differences_in_a_segment_are_those_of_its_hit_rates(tmp_path):
    run = world(tmp_path)
    run.kinds = ("unconditioned", "implicit")
    part = evaluate(run, CONFIG, ROUND_ROBIN).result["segments"]["history"]["1-9"]
    rates = {method: figures["hr@4"]["mean"] for method, figures in part["methods"].items()}
    assert part["differences"].keys() == rates.keys() - {"clustering"}
    assert part["minus_unconditioned"].keys() == rates.keys() - {"unconditioned"}
    for other, gain in part["differences"].items():
        assert gain["hr@4"]["mean"] == pytest.approx(rates["clustering"] - rates[other], abs=2e-6)
    for other, gain in part["minus_unconditioned"].items():
        assert gain["hr@4"]["mean"] == pytest.approx(rates[other] - rates["unconditioned"], abs=2e-6)


def test_the_saved_files_hold_the_result_and_threads_find_the_same(tmp_path, request):
    evaluation = evaluate(world(tmp_path), CONFIG, ROUND_ROBIN)
    save(evaluation, tmp_path)
    assert json.loads((tmp_path / "evaluation-test.json").read_text()) == evaluation.result
    users = pl.read_parquet(tmp_path / "outcomes-test.parquet")
    own = users.filter(kind="new", method="clustering", budget=2).sort("user_id")
    assert own["user_id"].to_list() == [100, 101, 102]
    assert own["hits"].to_list() == [2, 2, 1]
    assert own["targets"].to_list() == [2, 2, 2]
    assert not list(tmp_path.glob("*.partial"))
    request.getfixturevalue("small_batches")
    apart = evaluate(world(tmp_path), CONFIG, ROUND_ROBIN)
    columns = ["user_id", "kind", "method", "budget"]
    is_own = pl.col("method") != "other_user"  # that depends on who is in the batch
    one, other = (each.outcomes.filter(is_own).sort(columns) for each in (evaluation, apart))
    assert one.equals(other)


def test_outcomes_name_the_user_even_if_others_have_no_such_target(tmp_path):
    data = prepared(tmp_path, [[4], [1]], [[4], [5]], [[1], [2]] * 6, follows=[[1], [2]])
    frame = evaluate(FakeRun(tmp_path, data, [[9, 9], [5, 6]]), CONFIG, ROUND_ROBIN).outcomes
    assert frame.filter(kind="new")["user_id"].unique().to_list() == [101]  # user 100 only repeats
    assert frame.filter(kind="all")["user_id"].unique().sort().to_list() == [100, 101]


def test_the_users_and_budgets_that_can_be_evaluated_are_chosen(tmp_path):
    run, config = world(tmp_path), EvaluateConfig(budgets=(2,), max_users=2, targets="all")
    result, frame = evaluate(run, config, ROUND_ROBIN)
    assert frame["user_id"].n_unique() == 2
    everybody = evaluate(run, config.model_copy(update={"max_users": 0}), ROUND_ROBIN)
    assert result["sampled_from"] == everybody.result["users"] > 2
    assert everybody.result["sampled_from"] is None
    assert f"2 test users of {result['sampled_from']}, drawn at random" in heading(result)
    assert "drawn" not in heading(everybody.result)
    assert feasible_budgets((10, 100, 1000), 2001) == (10, 100, 1000)
    assert feasible_budgets((10, 100, 1000), 2000) == (10, 100)
    assert feasible_budgets((10,), 6) == (3,)
    assert [main_budget(b) for b in ((10, 100, 1000), (10, 50), (200, 500))] == [100, 50, 200]
    with pytest.raises(DataError, match="no user has a target of this kind in the validation split; prepare with"):
        evaluate(world(tmp_path), EvaluateConfig(split="validation"))


@pytest.fixture
def small_batches(monkeypatch):
    """Let every user be a batch, and four threads evaluate them."""
    monkeypatch.setattr("multitudes.evaluation.protocol._LEAST_BATCH", 1)
    monkeypatch.setattr("multitudes.evaluation.protocol._BATCH_SIZE", 1)
    monkeypatch.setattr("multitudes.evaluation.protocol.chosen_threads", lambda: 4)


@pytest.mark.usefixtures("small_batches")
def test_an_interrupted_evaluation_does_not_finish_the_other_users(tmp_path, monkeypatch):
    evaluated, interrupted, ending = list[int](), Event(), Event()
    batch, shutdown = Evaluator._evaluate_batch, ThreadPoolExecutor.shutdown

    def slowly(self, kinds, held):
        if evaluated:
            assert ending.wait(60)
        evaluated.append(len(held))
        return batch(self, kinds, held)

    def interrupt(done, total, note=""):
        if evaluated:
            interrupted.set()
            raise KeyboardInterrupt

    def end(pool, *arguments, **named):
        if interrupted.is_set():
            ending.set()  # the others are cancelled by now
        shutdown(pool, *arguments, **named)

    monkeypatch.setattr(Evaluator, "_evaluate_batch", slowly)
    monkeypatch.setattr(ThreadPoolExecutor, "shutdown", end)
    monkeypatch.setattr("multitudes.evaluation.protocol.chosen_threads", lambda: 1)
    with pytest.raises(KeyboardInterrupt):
        evaluate(world(tmp_path), CONFIG, ROUND_ROBIN, interrupt)
    assert len(evaluated) <= 2, "the first, after which it was interrupted, and maybe the next, of four"
