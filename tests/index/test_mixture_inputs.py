"""Mixtures over inverted lists: little is left to find, a topic is everything, or an older build wrote the index.

Legend: K vectors of a user · n items.
"""

from pathlib import Path

import numpy as np
import pytest

from multitudes.batches.user_vectors import UserVectors
from multitudes.errors import UsageError
from multitudes.index import files, inverted
from multitudes.index.approximate import ApproximateSearch
from multitudes.index.engine import RecallTarget
from multitudes.index.factory import load_embedded
from multitudes.index.inverted import build
from multitudes.index.list_moments import MOMENT_FILES
from multitudes.index.live import LiveIndex
from multitudes.index.mixture import MixtureQuery
from multitudes.index.topic_lists import CODES_FILE, COUNT_FIELD, TOPICS_FILE
from multitudes.retrieval.catalogue import Catalogue
from multitudes.retrieval.config import RetrieveConfig
from multitudes.retrieval.search import find_candidates
from tests.index.mixture_worlds import (
    ITEMS,
    LARGE,
    PROMISE,
    WIDTH,
    World,
    large,
    users,
)
from tests.index.worlds import csr, latent

EVERY = 7  # a topic that every item has
MANY = 30  # users, so that they are searched together
crowd = pytest.mark.parametrize("count", [1, MANY], ids=["alone", "many users"])


def with_added(index: LiveIndex, world: World) -> tuple[LiveIndex, World]:
    """Return an index with a few items more, and its world."""
    ids, vectors = ITEMS + np.arange(1, 4), world.vectors[:3] / 2
    live = LiveIndex(index.segment)
    live.add(ids, vectors, csr([[LARGE]] * 3))
    topics = [*world.topics, *([[LARGE]] * 3)]
    return live, World(np.concatenate([world.ids, ids]), np.concatenate([world.vectors, vectors]), topics)


@crowd
@pytest.mark.parametrize("topics", [False, True], ids=["no topics", "topics"])
@pytest.mark.parametrize("layers", [False, True], ids=["built", "added"])
def test_where_everything_is_excluded_the_list_is_empty(count: int, topics: bool, layers: bool):
    index, world = large("latent")
    if layers:
        index, world = with_added(index, world)
    asked = users(latent, count, 4, topics=topics)
    more = np.sort(np.concatenate([world.ids, 10 * ITEMS + np.arange(500)]))  # unknown ids too, so more than items
    for excluded in (world.ids, more):
        for found in index.mixture([query._replace(excluded=excluded) for query in asked]):
            assert [len(column) for column in found] == [0, 0, 0, 0]
            assert found.found_by_NK.shape == (0, 5)


@crowd
@pytest.mark.parametrize("left", [1, ITEMS // 2, ITEMS, ITEMS + 2])
def test_where_all_items_but_one_are_excluded_that_one_is_found(count: int, left: int):
    index, world = with_added(*large("latent"))
    queries = [query._replace(excluded=np.setdiff1d(world.ids, left)) for query in users(latent, count, 4)]
    for query, found in zip(queries, index.mixture(queries), strict=True):
        assert found.id_N.tolist() == [left]
        check_normalised(found.score_N, world, query)


def check_normalised(score_N: np.ndarray, world: World, query: MixtureQuery) -> None:
    """Hold log probabilities to the exact ones: inverted lists estimate the sums over all items."""
    np.testing.assert_allclose(score_N, [score for _, score in world.ranking(query)], atol=0.15)


@crowd
@pytest.mark.parametrize(
    ("items", "scanned", "per_coded", "coded"),
    [(1_500, 10_000, 20, 0), (2_500, 10_000, 20, 1), (2_500, 500, 20, 0), (2_500, 500, 1, 1)],
    ids=["scanned", "codes", "engine", "codes of a large topic"],
)
def test_a_topic_that_every_item_has_restricts_nothing(
    items: int, scanned: int, per_coded: int, coded: int, count: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(inverted, "_ITEMS_PER_CODED", per_coded)
    item = latent(np.random.default_rng(3), items, WIDTH)
    item /= np.linalg.norm(item, axis=1, keepdims=True) / np.sqrt(WIDTH)
    world = World(np.arange(1, items + 1), item, [[EVERY, 1] if row % 100 == 0 else [EVERY] for row in range(items)])
    target = RecallTarget(recall=PROMISE.recall, deepest=200, scanned=scanned)
    index = LiveIndex(build(world.ids, item, csr(world.topics), users=users(latent, 60, 1), target=target))
    assert index.info()[COUNT_FIELD] == coded
    if coded:  # and its codes are read: all items are not searched for those of the topic
        monkeypatch.setattr(ApproximateSearch, "_search_large_topic", None)
    asked = users(latent, MANY, 6)
    for topic_K in ([0, 0, 0, 0, EVERY], [EVERY] * 5, [0, 0, 1, EVERY, EVERY]):
        queries = [query._replace(topic_K=np.array(topic_K)) for query in asked]
        found = [one for start in range(0, MANY, count) for one in index.mixture(queries[start : start + count])]
        shares = []
        for query, one in zip(queries, found, strict=True):
            expected = world.ranking(query)
            shares.append(len({item for item, _ in expected} & set(one.id_N.tolist())) / query.n)
            assert len(one.id_N) == len(set(one.id_N.tolist())) == query.n
            check_normalised(one.score_N[:1], world, query._replace(n=1))
        assert np.mean(shares) >= PROMISE.recall - 0.02, topic_K


@crowd
def test_removed_items_of_a_large_topic_are_not_in_its_sum(count: int):
    _, world = large("latent")
    far = ITEMS + np.arange(1, 61)
    live = LiveIndex(
        build(
            np.concatenate([world.ids, far]),
            np.concatenate([world.vectors, np.full((len(far), WIDTH), 9)]),
            csr([*world.topics, *([[LARGE]] * len(far))]),
            users=users(latent, 60, 1),
            target=PROMISE,
        )
    )
    live.remove(far)
    queries = [query._replace(topic_K=np.array([0, 0, 0, LARGE, LARGE])) for query in users(latent, count, 6)]
    for query, found in zip(queries, live.mixture(queries), strict=True):
        check_normalised(found.score_N[:1], world, query._replace(n=1))


def as_an_older_build_left_it(index: LiveIndex, folder: Path) -> None:
    """Save an index without what the search for mixtures brought: its part of ``index.json`` and its files."""
    index.save(folder)
    info = {name: part for name, part in index.info().items() if name not in {"mixture", COUNT_FIELD}}
    for name in (*MOMENT_FILES, CODES_FILE, TOPICS_FILE):
        (folder / name).unlink(missing_ok=True)
    files.write_description(folder, info)


@pytest.mark.parametrize("layers", [False, True], ids=["built", "added"])
def test_an_index_from_before_the_mixture_gives_full_lists_by_a_search_for_each_vector(layers: bool, tmp_path: Path):
    index, world = large("latent")
    if layers:
        index, world = with_added(index, world)
    as_an_older_build_left_it(index, tmp_path)
    opened = load_embedded(tmp_path)
    assert "mixture" not in opened.info()
    assert not opened.has_mixture
    asked = users(latent, 40, 2, topics=True)
    with pytest.raises(UsageError, match="kind 'inverted' is not searched for mixtures; expected"):
        opened.mixture(asked)
    excluding = [
        query._replace(excluded=np.sort([item for item, _ in world.ranking(query._replace(n=20))])) for query in asked
    ]
    shares = []
    for query, found in zip(excluding, of_each_vector(opened, excluding), strict=True):
        assert len(found) == len(set(found)) == query.n
        assert not set(found) & set(query.excluded.tolist())
        shares.append(len(set(found) & {item for item, _ in world.ranking(query)}) / query.n)
    assert np.mean(shares) >= 0.9


def of_each_vector(index: LiveIndex, queries: list[MixtureQuery]) -> list[list[int]]:
    """Return what retrieval finds with the blend ``mixture``, for users of one width of list."""
    vectors_BKD, topic_BK = np.stack([query.vectors_KD for query in queries]), np.stack([q.topic_K for q in queries])
    mask_BK = np.ones(topic_BK.shape, dtype=np.bool_)
    vectors = UserVectors(
        ("unconditioned", "implicit", "implicit", "explicit", "explicit"),
        vectors_BKD,
        mask_BK.astype(np.float32),
        mask_BK,
        topic_BK,
        np.full((len(queries), 1), -1),
        share_BK=np.exp([query.log_share_K for query in queries]),
    )
    catalogue = Catalogue(index, np.zeros(ITEMS + 4, dtype=np.int64))
    excluded, config = [query.excluded for query in queries], RetrieveConfig(topics_per_request=2)
    found = find_candidates(vectors, catalogue, queries[0].n, excluded, config)
    return [one.item_N.tolist() for one in found]


def test_an_index_that_is_tuned_on_users_of_zeros_alone_is_built_and_says_why_it_searches_each_vector():
    item = latent(np.random.default_rng(3), 400, WIDTH)
    zeros = [query._replace(vectors_KD=np.zeros_like(query.vectors_KD), n=20) for query in users(latent, 20, 1)]
    index = LiveIndex(build(np.arange(400), item, users=zeros, target=PROMISE))
    assert not index.has_mixture
    assert index.info()["mixture_fallback"]["reason"].startswith("no number of pairs finds 0.95")
