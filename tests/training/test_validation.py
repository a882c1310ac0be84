"""Validation against slow definitions."""

import dataclasses

import numpy as np
import pytest
import torch

from multitudes.batches.held_out import held_out_histories, held_out_users
from multitudes.batches.histories import followed_topics, gather_histories
from multitudes.batches.user_vectors import INTEREST_KINDS
from multitudes.data.prepared import SPLIT_CODE, PreparedData
from multitudes.nn.user_tower_config import UserTowerConfig
from multitudes.training.config import RunConfig, TrainConfig
from multitudes.training.shares import fit_shares
from multitudes.training.trained_run import TrainedRun, build_model
from multitudes.training.validation import ItemScores, ScoredTargets, first_time_targets, sample_rows, validate
from tests.worlds import planted


@pytest.fixture(scope="module")
def run() -> TrainedRun:
    prepared: PreparedData = planted()[1]
    model = UserTowerConfig.model_validate({"width": 8, "history": 10, "crossing": {"hidden": 16}})
    torch.manual_seed(0)
    config = RunConfig(method="joint", seed=0, model=model, train=TrainConfig())
    return TrainedRun(prepared.path, prepared, config, build_model(prepared, "joint", model))


def test_the_hit_rate_of_a_single_vector_is_that_of_its_inner_products(run: TrainedRun) -> None:
    prepared = run.prepared
    config = run.config.model_copy(update={"method": "single"})
    torch.manual_seed(0)
    single = TrainedRun(run.path, prepared, config, build_model(prepared, "single", config.model))
    held = held_out_users(prepared, "validation")
    rows = sample_rows(held, 40, seed=0)
    hits = wanted = 0
    for row in rows:
        user, end = held.user_B[row : row + 1], held.end_B[row : row + 1]
        users = single.user_vectors(gather_histories(prepared, user, end, 10), followed_topics(prepared, user)[:, :5])
        score = single.item_vectors() @ users.vectors_BKD[0, 0]
        seen = prepared.event_item[prepared.event_offset[user[0]] : end[0]]
        score[[0, *seen]] = -np.inf
        best = np.argsort(-score)[:10]
        hits += len(set(best.tolist()) & set(first_time_targets(held, row).tolist()))
        wanted += len(first_time_targets(held, row))
    assert wanted > 20
    assert validate(single, held, rows, n=10).hit_rate == pytest.approx(hits / wanted)


def test_the_validation_of_many_vectors_equals_its_definition(run: TrainedRun) -> None:
    """A mixture with exact normalisers: slowly, user by user, over all items at once."""
    prepared, held = run.prepared, held_out_users(run.prepared, "validation")
    rows, item_vectors = sample_rows(held, 40, seed=0), run.item_vectors()
    log_p, mixtures = [], []
    for row in rows:
        user, end = held.user_B[row : row + 1], held.end_B[row : row + 1]
        histories = held_out_histories(prepared, user, end, 10)
        users = run.user_vectors(histories, histories.follow_BF[:, :5])
        score_KI = users.vectors_BKD[0].astype(np.float64) @ item_vectors.T
        score_KI[:, 0] = -np.inf  # the unknown item; what is seen has a probability, but no place
        for k in np.flatnonzero((users.topic_BK[0] > 0) & users.mask_BK[0]):
            others = [i for i in range(1, prepared.n_items + 1) if users.topic_BK[0, k] not in prepared.topics_of(i)]
            score_KI[k, others] = -np.inf
        score_GI = np.zeros((len(INTEREST_KINDS), prepared.n_items + 1))
        for g, kind in enumerate(INTEREST_KINDS):
            own = [k for k in np.flatnonzero(users.mask_BK[0]) if users.kinds[k] == kind]
            weight = users.weight_BK[0, own] / users.weight_BK[0, own].sum()
            p_KI = np.exp(score_KI[own] - score_KI[own].max(axis=1, keepdims=True))
            score_GI[g] = weight @ (p_KI / p_KI.sum(axis=1, keepdims=True))
        score_GI[:, prepared.event_item[prepared.event_offset[user[0]] : end[0]]] = 0
        new = first_time_targets(held, row)
        p_MG = np.maximum(score_GI[:, new].T, 1e-37)
        log_p.append(np.where(score_GI.sum(axis=1) > 0, np.log(p_MG), -np.inf))
        mixtures.append((score_GI, new))
    shares = fit_shares(torch.from_numpy(np.concatenate(log_p)).float()).numpy()
    hits = [len(set(np.argsort(-(shares @ score_GI))[:10]) & set(new)) for score_GI, new in mixtures]
    judged = validate(run, held, rows, n=10)
    assert list(judged.shares.values()) == pytest.approx(shares, abs=1e-4)
    assert judged.hit_rate == pytest.approx(sum(hits) / sum(len(new) for _, new in mixtures))
    assert min(shares) > 0.001, "each kind tells something"


def test_the_lists_of_several_shares_are_those_of_each_alone(run: TrainedRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("multitudes.training.validation.ITEMS_PER_CHUNK", 50)
    held = held_out_users(run.prepared, "validation")
    rows = sample_rows(held, 40, seed=0)
    scored = ScoredTargets(ItemScores(run, held, rows, 5), held, rows)
    candidates = [torch.tensor(shares) for shares in ([1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.3, 0.4, 0.3])]
    lists = scored.best_items_of_each(candidates, 10)
    for shares_G, item_BN in zip(candidates, lists, strict=True):
        assert torch.equal(item_BN, scored.best_items(shares_G, 10))
    assert not torch.equal(lists[0], lists[1])


def test_held_out_targets_equal_their_definition(run: TrainedRun) -> None:
    data, held = run.prepared, held_out_users(run.prepared, "validation")
    expected = {}
    for user in range(data.n_users):
        own = range(data.event_offset[user], data.event_offset[user + 1])
        part = [i for i in own if data.event_split[i] == SPLIT_CODE["validation"]]
        wanted = {
            int(data.event_item[i])
            for i in part
            if data.event_weight[i] > 0 and data.event_item[i] > 0 and data.event_after_follows[i]
        }
        if wanted:
            seen = {int(data.event_item[i]) for i in own if i < part[0]}
            expected[user] = (part[0], wanted, wanted - seen)
    assert held.user_B.tolist() == list(expected)
    assert any(new < wanted for _, wanted, new in expected.values()), "some were seen before"
    for row, (end, wanted, new) in enumerate(expected.values()):
        assert held.end_B[row] == end
        assert set(held.target[held.target_offset[row] : held.target_offset[row + 1]].tolist()) == wanted
        assert set(first_time_targets(held, row).tolist()) == new


def test_the_validation_does_not_depend_on_how_users_are_chunked(
    run: TrainedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = held_out_users(run.prepared, "validation")
    rows = sample_rows(held, 60, seed=0)
    whole = validate(run, held, rows, n=10)
    monkeypatch.setattr("multitudes.training.validation.SCORES_PER_CHUNK", 10_000)
    parts = validate(run, held, rows, n=10)
    assert parts.hit_rate == whole.hit_rate
    assert parts.shares == pytest.approx(whole.shares, abs=1e-4)
    assert sum(whole.shares.values()) == pytest.approx(1.0, abs=1e-5)


def test_followed_topics_unknown_at_the_cut_make_no_vector(run: TrainedRun) -> None:
    held = held_out_users(run.prepared, "validation")
    rows = sample_rows(held, 60, seed=0)
    nothing_known = np.zeros_like(run.prepared.event_after_follows)
    later = dataclasses.replace(run.prepared, event_after_follows=nothing_known)
    not_yet = validate(TrainedRun(run.path, later, run.config, run.model), held, rows, n=10)
    assert not_yet.shares["explicit"] == 0
    assert validate(run, held, rows, n=10).shares["explicit"] > 0


def test_the_sample_is_drawn_and_not_the_first_users(run: TrainedRun) -> None:
    held = held_out_users(run.prepared, "validation")
    rows = sample_rows(held, 20, seed=0)
    assert np.array_equal(rows, sample_rows(held, 20, seed=0))
    assert not np.array_equal(rows, np.arange(20))
