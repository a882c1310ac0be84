"""Shares of users without a history, in worlds whose truth is planted."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import cast

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from multitudes.batches.held_out import HeldOut, held_out_users, select_targets, select_users
from multitudes.batches.histories import Histories
from multitudes.batches.user_vectors import InterestKind, ListPart, UserVectors
from multitudes.linear.popularity import user_counts
from multitudes.nn.user_tower_config import UserTowerConfig
from multitudes.training.config import RunConfig, TrainConfig
from multitudes.training.history_shares import fit_shares_by_history
from multitudes.training.trained_run import TrainedRun
from tests.worlds import planted

POPULAR = np.arange(1, 13)
KINDS: tuple[InterestKind, ...] = ("unconditioned", "implicit", "explicit")


class PlantedRun:
    """A run whose unconditioned vector finds ``liked`` items, and its explicit one the items of the first topic."""

    def __init__(self, kinds: tuple[InterestKind, ...] = KINDS, liked: NDArray[np.int64] = POPULAR) -> None:
        self.prepared = planted()[1]
        self.path, self.model, self.linear = self.prepared.path, None, None
        model = UserTowerConfig.model_validate({"width": 8, "history": 10})
        self.config = RunConfig(method="joint", model=model, train=TrainConfig(eval_k=12))
        self._kinds, self._liked = kinds, liked

    def kinds(self, _topics: int) -> tuple[InterestKind, ...]:
        return self._kinds

    def user_vectors(
        self, histories: Histories, topic_BC: NDArray[np.int64], positives: Sequence[NDArray[np.int64]] | None = None
    ) -> UserVectors:
        assert not histories.valid_BL.any(), "nothing of the history is read"
        assert not any(len(items) for items in positives or ())
        users, items = len(topic_BC), self.prepared.n_items + 1
        vectors_BKD = np.zeros((users, 3, items), dtype=np.float32)
        vectors_BKD[:, 0, self._liked] = 5.0
        mask_BK = np.tile([True, False, True], (users, 1))
        topic_BK = np.zeros((users, 3), dtype=np.int64)
        topic_BK[:, 2] = topic_BC[:, 0]
        return UserVectors(
            KINDS, vectors_BKD, mask_BK.astype(np.float32), mask_BK, topic_BK, np.full(histories.item_BL.shape, -1)
        )


@pytest.fixture(autouse=True)
def _identity_items(monkeypatch: pytest.MonkeyPatch) -> None:
    def chunks(_model: object, _size: int) -> Iterator[tuple[slice, Tensor]]:
        items = planted()[1].n_items + 1
        yield slice(0, items), torch.eye(items)

    monkeypatch.setattr("multitudes.training.validation.item_vector_chunks", chunks)


def held_with(popular: float) -> HeldOut:
    """Return validation users whose targets are popular items, with this probability, or of their first topic."""
    data, random = planted()[1], np.random.default_rng(0)
    held = held_out_users(data, "validation")
    held = select_users(held, np.flatnonzero(np.diff(data.follow_offset)[held.user_B] > 0))
    targets = []
    for user, end in zip(held.user_B, held.end_B, strict=True):
        seen = data.event_item[data.event_offset[user] : end]
        topic = data.follow_topic[data.follow_offset[user]]
        of_topic = [item for item in range(1, data.n_items + 1) if topic in data.topics_of(item)]
        chosen = POPULAR if random.random() < popular else np.array(of_topic)
        targets.append(np.sort(random.permutation(np.setdiff1d(chosen, seen))[:3]))
    target = np.concatenate(targets)
    offset = np.concatenate([[0], np.cumsum([len(items) for items in targets])])
    return HeldOut(held.user_B, held.end_B, offset, target, np.ones(len(target), dtype=np.bool_))


def fit(held: HeldOut, run: PlantedRun | None = None) -> dict[ListPart, float]:
    return fit_shares_by_history(cast("TrainedRun", run or PlantedRun()), held).get("none", {})


def test_where_new_users_take_what_is_popular_the_unconditioned_vector_gets_the_list() -> None:
    shares = fit(held_with(popular=1.0))
    assert shares["unconditioned"] > 0.9
    assert sum(shares.values()) == pytest.approx(1.0)


def test_where_new_users_take_their_topics_the_explicit_vectors_get_the_list() -> None:
    shares = fit(held_with(popular=0.0))
    assert shares["explicit"] > 0.8
    assert shares["implicit"] == 0
    assert sum(shares.values()) == pytest.approx(1.0)


def test_where_half_of_them_do_both_get_a_part() -> None:
    shares = fit(held_with(popular=0.6))
    assert 0.1 < shares["explicit"] < 0.7


def test_an_explicit_share_that_costs_hits_is_lowered(monkeypatch: pytest.MonkeyPatch) -> None:
    likeliest = torch.tensor([0.1, 0.0, 0.9])
    monkeypatch.setattr("multitudes.training.history_shares.fit_shares", lambda _: likeliest)
    assert fit(held_with(popular=1.0))["explicit"] < 0.3
    assert fit(held_with(popular=0.0))["explicit"] == pytest.approx(0.9), "the control"


def test_popular_items_take_turns_where_the_tower_does_not_know_what_is_popular() -> None:
    data, held = planted()[1], held_with(popular=0.0)
    by_popularity = np.argsort(-user_counts(data)[1:], kind="stable") + 1
    targets = []
    for user, end in zip(held.user_B, held.end_B, strict=True):
        seen = data.event_item[data.event_offset[user] : end]
        targets.append(np.sort(by_popularity[~np.isin(by_popularity, seen)][:3]))
    popular = dataclasses.replace(
        held,
        target=np.concatenate(targets),
        target_offset=np.arange(len(targets) + 1) * 3,
        target_is_first_time=np.ones(3 * len(targets), dtype=np.bool_),
    )
    shares = fit(popular, PlantedRun(liked=by_popularity[-12:]))
    assert shares["popular"] > 0
    assert sum(shares.values()) == pytest.approx(1.0)
    assert "popular" not in fit(held), "the control: topics tell the targets"
    assert "popular" not in fit(popular), "the control: the unconditioned vector finds popular items by itself"


def test_without_a_choice_or_a_target_nothing_is_fitted() -> None:
    held = held_with(popular=0.5)
    assert fit(held, PlantedRun(("unconditioned", "implicit"))) == {}
    assert fit(select_targets(held, np.zeros(len(held.target), dtype=np.bool_))) == {}
    repeats = dataclasses.replace(held, target_is_first_time=np.zeros(len(held.target), dtype=np.bool_))
    assert fit(repeats) == {}
