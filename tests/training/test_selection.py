"""The list of a run: the one that serves most interests, among those that find as many as one vector."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from multitudes.batches.held_out import held_out_users, select_targets
from multitudes.batches.histories import followed_topics, gather_histories
from multitudes.batches.user_vectors import INTEREST_KINDS, UserHistories
from multitudes.cli.train import _print_list
from multitudes.data.prepared import PreparedData
from multitudes.evaluation.config import EvaluateConfig
from multitudes.evaluation.evaluate import evaluate
from multitudes.retrieval.config import DEFAULT_SHARES, RetrieveConfig, Shares
from multitudes.run_record import read_record
from multitudes.seeding import generator
from multitudes.training import selection
from multitudes.training.config import RunConfig
from multitudes.training.loop import train
from multitudes.training.selection import (
    ALONE,
    CALIBRATIONS,
    TriedList,
    best_list,
    candidate_lists,
    choose_list,
    draw_validation_users,
    hit_rate,
)
from multitudes.training.trained_run import TrainedRun, build_model
from tests.worlds import planted

N = 10


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> TrainedRun:
    prepared: PreparedData = planted()[1]
    settings = {"epochs": 2, "batch_size": 32, "in_batch": 64, "uniform": 32, "eval_k": N}
    model = {"width": 16, "history": 10, "crossing": {"hidden": 0}, "neighbours": True}
    config = RunConfig.model_validate({"method": "joint", "model": model, "train": settings})
    return train(prepared, config, tmp_path_factory.mktemp("selection") / "run")


def test_an_epoch_is_judged_by_the_default_list_as_an_evaluation_counts_it(run: TrainedRun) -> None:
    held = held_out_users(run.prepared, "validation")
    settings = EvaluateConfig(split="validation", targets="new", budgets=(N,), controls="none", baselines="none")
    shares = {"unconditioned_share": DEFAULT_SHARES.unconditioned, "explicit_share": DEFAULT_SHARES.explicit}
    found = evaluate(run, settings, RetrieveConfig(**shares, calibration=0.0)).result["methods"]["joint"]
    assert hit_rate(run, held, N, run.blend) == pytest.approx(found[f"hr@{N}"]["mean"], abs=1e-6)
    nobody = select_targets(held, np.zeros(len(held.target), dtype=np.bool_))
    assert hit_rate(run, nobody, N, run.blend) == 0.0


def test_the_hit_rate_of_one_vector_is_that_of_its_inner_products(run: TrainedRun) -> None:
    prepared, config = run.prepared, run.config.model_copy(update={"method": "single"})
    single = TrainedRun(run.path, prepared, config, build_model(prepared, "single", config.model))
    held = draw_validation_users(prepared, config)
    hits = wanted = 0
    for row, (user, end) in enumerate(zip(held.user_B, held.end_B, strict=True)):
        histories = gather_histories(prepared, np.array([user]), np.array([end]), config.model.history)
        assert histories.valid_BL.any(), "a user without an event has popular items"
        vectors = single.user_vectors(UserHistories(histories, followed_topics(prepared, np.array([user]))[:, :5]))
        score_I = single.item_vectors() @ vectors.vectors_BKD[0, 0]
        score_I[[0, *prepared.event_item[prepared.event_offset[user] : end]]] = -np.inf
        own = slice(held.target_offset[row], held.target_offset[row + 1])
        first_time = held.target[own][held.target_is_first_time[own]]
        hits, wanted = hits + int(np.isin(first_time, np.argsort(-score_I)[:N]).sum()), wanted + len(first_time)
    assert wanted > 20
    assert hit_rate(single, held, N, single.blend) == pytest.approx(hits / wanted)


def test_the_users_are_drawn_and_not_the_first(run: TrainedRun) -> None:
    few = run.config.model_copy(update={"train": run.config.train.model_copy(update={"validate_users": 20})})
    drawn = draw_validation_users(run.prepared, few).user_B
    assert np.array_equal(drawn, draw_validation_users(run.prepared, few).user_B)
    assert not np.array_equal(drawn, held_out_users(run.prepared, "validation").user_B[:20])


def tried(*lists: tuple[float, float], users: int = 400) -> list[TriedList]:
    """Return lists with these mean hits and served interests."""
    shares = [ALONE, *([DEFAULT_SHARES] * (len(lists) - 1))]
    return [
        TriedList(own, 0.0, np.full((2, users), float(hits)), np.full(users, served))
        for own, (hits, served) in zip(shares, lists, strict=True)
    ]


def test_users_without_a_history_have_no_say_and_the_most_served_of_those_that_find_as_many_is_taken() -> None:
    lists = tried((10, 0.5), (10, 0.6))
    lists[1].served_B[:200] = np.nan
    lists[0].served_B[:200] = np.nan
    assert best_list(lists, np.arange(400)) == 1
    assert best_list(lists, np.arange(200)) == 0, "nobody has an interest"
    everybody = np.arange(400)
    assert best_list(tried((10, 0.5), (9.9, 0.6), (9.75, 0.7), (9.6, 0.9)), everybody) == 2
    # The controls: nothing is served more, and what serves more finds too little.
    assert best_list(tried((10, 0.5), (12, 0.5), (10, 0.4)), everybody) == 0
    assert best_list(tried((10, 0.5), (9.6, 0.9)), everybody) == 0


def test_a_list_that_finds_fewer_in_its_first_places_is_not_taken() -> None:
    lists, everybody = tried((10, 0.5), (10, 0.6), (10, 0.9)), np.arange(400)
    assert best_list(lists, everybody) == 2, "the control"
    lists[2].hits_GB[1] -= 0.5
    assert best_list(lists, everybody) == 1


def test_of_one_vector_and_several_that_are_level_one_has_the_list() -> None:
    """It costs one search; the several serve .02 more, which is noise, or the control: of nearly every user."""
    lists = tried((10, 0.5), (10, 0.6), (10, 0.62))
    lists[1] = lists[1]._replace(shares=ALONE, calibration=0.3)
    lists[2].served_B[:] += np.tile([1.0, -1.0], 200)
    assert best_list(lists, np.arange(400)) == 1
    lists[2].served_B[:] = 0.604
    assert best_list(lists, np.arange(400)) == 1, "of every user, but too little for what it costs"
    lists[2].served_B[:] = 0.62
    assert best_list(lists, np.arange(400)) == 2


def test_one_vector_has_the_list_where_the_choice_brings_other_users_nothing(
    run: TrainedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = held_out_users(run.prepared, "validation")
    users = len(select_targets(held, held.target_is_first_time))
    halves = np.array_split(generator(0, "selection", "halves").permutation(users), 2)

    def chosen(other_half: float, hits: float = 1) -> Shares:
        lists = tried((1, 0.5), (hits, 0.5), (hits, 0.5), users=users)
        for one, own, other in zip(lists[1:], halves, reversed(halves), strict=True):
            one.served_B[own] += 0.2
            one.served_B[other] += other_half
        monkeypatch.setattr(selection, "try_lists", lambda *_: lists)
        choice = choose_list(run, held, N)
        assert choice is not None
        return choice.shares

    assert chosen(-0.1) == ALONE, "what was found is of the users that chose"
    assert chosen(0.1) == chosen(-0.1, hits=2) == DEFAULT_SHARES, "the controls: interests, or hits"


def test_one_vector_is_the_first_and_round_robin_is_not_calibrated() -> None:
    first, *others = candidate_lists(("unconditioned", "implicit"), "fusion")
    assert first == (ALONE, 0.0)
    every = [(shares, calibration) for shares in (ALONE, DEFAULT_SHARES) for calibration in CALIBRATIONS]
    assert [first, *others] == every
    paper = candidate_lists(("implicit", "explicit"), "round_robin")
    assert all(calibration == 0 and shares.unconditioned == 0 for shares, calibration in paper)


def test_what_is_chosen_is_what_an_evaluation_measures_and_what_is_recorded(run: TrainedRun) -> None:
    choice = choose_list(run, held_out_users(run.prepared, "validation"), N)
    assert choice is not None
    record = read_record(run.path)
    assert (record["calibration"], record["validation_hit_rate"]) == (
        choice.calibration,
        pytest.approx(choice.hit_rate),
    )
    assert record["list"] == choice.record
    assert len(choice.record["tried"]) == 2 * len(CALIBRATIONS)
    settings = EvaluateConfig(split="validation", targets="new", budgets=(2, N), controls="none", baselines="none")
    found = evaluate(run, settings).result["methods"]["joint"]
    chosen = next(
        one
        for one in choice.record["tried"]
        if one["calibration"] == choice.calibration and one["shares"] == record["shares"]
    )
    assert found[f"hr@{N}"]["mean"] == pytest.approx(chosen["hit_rate"], abs=1e-6)
    assert choice.record["first"] == 2
    assert found["hr@2"]["mean"] == pytest.approx(chosen["first_hit_rate"], abs=1e-6)
    assert found[f"served@{N}"]["mean"] == pytest.approx(chosen["served"], abs=1e-6)
    other = RetrieveConfig(unconditioned_share=1.0, explicit_share=0.0, calibration=0.0)
    alone = evaluate(run, settings, other).result["methods"]["joint"]
    assert alone[f"hr@{N}"]["mean"] == pytest.approx(choice.record["tried"][0]["hit_rate"], abs=1e-6)


def test_topics_that_nobody_follows_propose_nothing(
    run: TrainedRun, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    record = read_record(run.path) | {"shares": dict(zip(INTEREST_KINDS, DEFAULT_SHARES, strict=True))}
    nobody_follows = dataclasses.replace(run.prepared, follow_topic=run.prepared.follow_topic[:0])
    for data, said in (
        (run.prepared, "whole history 50%, interests 40%, followed topics 10%; "),
        (nobody_follows, "whole history 56%, interests 44%; "),
    ):
        monkeypatch.setattr(PreparedData, "open", lambda _, data=data: data)
        _print_list(run.path, record)
        assert f"the list is proposed by {said}" in capsys.readouterr().out


def test_a_run_of_one_vector_has_no_choice_and_is_not_calibrated(run: TrainedRun, tmp_path: Path) -> None:
    config = run.config.model_copy(update={"method": "transformer"})
    single = train(
        run.prepared, RunConfig.model_validate({**config.model_dump(), "method": "transformer"}), tmp_path / "run"
    )
    assert single.list_defaults.calibration == 0.0
    assert "list" not in read_record(single.path)
