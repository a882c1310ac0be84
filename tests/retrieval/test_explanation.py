"""Reasons of candidates: own items of the same taste where tastes were planted, nothing in noise."""

from typing import Any

import numpy as np
import pytest

from multitudes.index.live import LiveIndex
from multitudes.retrieval.explanation import Explainer
from multitudes.retrieval.retriever import Retriever
from multitudes.retrieval.search import POPULAR, REPEAT, Candidates
from multitudes.retrieval.user_context import UserContextBuilder
from tests.retrieval.worlds import catalogue

RNG = np.random.default_rng(0)
TASTES, ITEMS, WIDTH = 200, 1_000, 64
TASTE = np.repeat(np.arange(TASTES), ITEMS // TASTES)  # of item i at i - 1
PLANTED = RNG.standard_normal((TASTES, WIDTH))[TASTE] + 0.3 * RNG.standard_normal((ITEMS, WIDTH))
NOISE, NARROW_NOISE = RNG.standard_normal((ITEMS, WIDTH)), RNG.standard_normal((ITEMS, 8))


def index_of(vectors: np.ndarray) -> LiveIndex:
    index = catalogue(vectors).index
    assert isinstance(index, LiveIndex)
    return index


def brought(items: Any, brought_by: list[int] | None = None) -> Candidates:
    item_N = np.array(items, dtype=np.int64)
    interest_N = np.zeros(len(item_N), dtype=np.int64) if brought_by is None else np.array(brought_by)
    found_by_NK = np.ones((len(item_N), 1), dtype=np.bool_)
    return Candidates(item_N, item_N.astype(np.float32), interest_N, found_by_NK, ("unconditioned",), np.ones(1))


def explain(vectors: np.ndarray, own: Any, items: Any, brought_by: list[int] | None = None) -> np.ndarray:
    return Explainer(index_of(vectors)).explain(np.array(own, dtype=np.int64), brought(items, brought_by))


def nearest_unseen(vectors: np.ndarray, own: np.ndarray, n: int) -> np.ndarray:
    """Return the items that a vector of the whole history finds."""
    score = vectors @ vectors[own - 1].sum(axis=0)
    score[own - 1] = -np.inf
    return np.argsort(-score)[:n] + 1


def test_reasons_are_own_items_of_the_taste_of_the_item():
    own = np.arange(1, ITEMS + 1, 50)  # one of each tenth taste
    items = np.setdiff1d(np.flatnonzero(np.isin(TASTE, TASTE[own - 1])) + 1, own)
    because_NR = explain(PLANTED, own, items)
    shown = because_NR[:, 0] > 0
    assert shown.mean() > 0.4, "nearer than a random item is to any of 20 in nineteen of twenty cases"
    assert (TASTE[because_NR[shown, 0] - 1] == TASTE[items[shown] - 1]).mean() > 0.95
    assert (because_NR[:, 1] == 0).all(), "no other own item is of that taste"
    chance = TASTE[RNG.choice(own, len(items)) - 1] == TASTE[items - 1]
    assert chance.mean() < 0.2
    others = np.setdiff1d(np.arange(1, ITEMS + 1), np.union1d(items, own))
    assert (explain(PLANTED, own, others) > 0).mean() < 0.05, "an item of no taste of the user has no reason"


def test_two_own_items_of_the_taste_are_named_the_nearest_first():
    own, item = [996, 997, 1], 1_000
    because = explain(PLANTED, own, [item])[0].tolist()
    unit = PLANTED / np.linalg.norm(PLANTED, axis=1, keepdims=True)
    assert because == sorted([996, 997], key=lambda one: -unit[one - 1] @ unit[item - 1])


@pytest.mark.parametrize("events", [1, 10, 300])
def test_what_a_model_of_noise_finds_has_no_reason(events):
    own = RNG.choice(np.arange(1, ITEMS + 1), events, replace=False)
    assert (explain(NOISE, own, nearest_unseen(NOISE, own, 100)) > 0).mean() <= 0.02
    found = nearest_unseen(PLANTED, own, 4)
    assert (explain(PLANTED, own, found) > 0).any(), "the control: a model of tastes"


def test_a_long_history_explains_no_more_of_noise_than_a_short_one():
    own = RNG.choice(np.arange(1, ITEMS + 1), 300, replace=False)
    items = np.setdiff1d(np.arange(1, ITEMS + 1), own)
    assert (explain(NARROW_NOISE, own, items)[:, 0] > 0).mean() < 0.1
    assert (explain(NARROW_NOISE, own[:1], items)[:, 0] > 0).mean() < 0.03
    unit = NARROW_NOISE / np.linalg.norm(NARROW_NOISE, axis=1, keepdims=True)
    similarity = unit @ unit.T
    top_hundredth = np.quantile(similarity[np.tri(ITEMS, k=-1, dtype=bool)], 0.99)
    nearest = similarity[np.ix_(items - 1, own - 1)].max(axis=1)
    assert (nearest > top_hundredth).mean() > 0.5, "the control: the same threshold for any history"


def test_without_a_history_or_an_index_and_for_own_and_popular_items_there_is_no_reason():
    assert not explain(PLANTED, [], [1, 2]).any()
    assert not explain(PLANTED, [ITEMS + 7], [1, 2]).any()
    assert explain(PLANTED, [ITEMS + 7, 1], [2])[0].tolist() == [1, 0], "the known one of two"
    assert not explain(PLANTED[:1], [1], [1]).any(), "one item has no pairs"
    assert explain(PLANTED, [1], []).shape == (0, 2)
    remote: Any = object()
    assert not Explainer(remote).explain(np.array([1]), brought([2])).any()
    assert explain(PLANTED, [1, 2], [3, 3, 3], [POPULAR, REPEAT, 0])[:, 0].astype(bool).tolist() == [False, False, True]
    assert explain(PLANTED, [1], [1]).tolist() == [[0, 0]]


def test_own_items_are_the_newest_positive_ones(shared_releases):
    retriever = Retriever.open(shared_releases)
    (titles,) = {tuple(own.title for own in one.because) for one in retriever.recommend(history=[101], n=3).candidates}
    assert titles == ("Film 101",)
    assert not any(one.because for one in retriever.recommend("eve", n=3).candidates), "a hidden item is no reason"
    context = UserContextBuilder(retriever.release).from_request([101, 999, 102, 101], [])
    assert context.positives.tolist() == [2, 1], "distinct and known"
