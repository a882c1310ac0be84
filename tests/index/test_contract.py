"""One suite for every index: what the protocol promises, on corpora that Hypothesis makes.

The vectors of most worlds are small whole numbers, so that inner products are exact and equal scores are truly equal.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import logsumexp

from multitudes.errors import ArtefactError, DataError, UsageError
from multitudes.index.build import load
from multitudes.index.exact import Exact
from multitudes.index.inverted import Inverted
from multitudes.index.protocol import Index

pytestmark = pytest.mark.contract


def few_lists(ids, vectors):
    """Build an inverted index of a few lists, as small as Hypothesis makes its corpora."""
    return Inverted.build(ids, vectors, lists=min(4, len(ids)), recall=1.0)


Build = Callable[[np.ndarray, np.ndarray], Index]
implementations = pytest.mark.parametrize("build", [Exact.build, few_lists], ids=["exact", "inverted"])
big = 2**60


@st.composite
def worlds(draw):
    n = draw(st.integers(1, 40))
    dimension = draw(st.sampled_from([1, 2, 7, 64]))
    ids = draw(
        st.lists(st.one_of(st.integers(-5, 60), st.integers(big, big + 60)), min_size=n, max_size=n, unique=True)
    )
    few = draw(st.integers(1, 4))  # a small range of values makes duplicates and ties the rule
    vectors = draw(arrays(np.float32, (n, dimension), elements=st.integers(-few, few).map(float)))
    queries = draw(arrays(np.float32, (draw(st.integers(1, 5)), dimension), elements=st.integers(-3, 3).map(float)))
    id_or_not = st.one_of(st.sampled_from(ids), st.integers(-9, 99))
    excluded = [np.array(draw(st.lists(id_or_not, max_size=n)), dtype=np.int64) for _ in queries]
    return np.array(ids), vectors, queries, excluded, draw(st.integers(0, n + 3))


def by_hand(ids, vectors, query, excluded, limit):
    """Rank with Python's sort: the answer that nobody doubts."""
    scored = [(-float(v @ query), int(i)) for i, v in zip(ids, vectors, strict=True) if i not in excluded]
    return [i for _, i in sorted(scored)[:limit]]


@given(world=worlds())
@settings(max_examples=40, deadline=None)
def test_the_reference_ranks_as_a_plain_sort_does(world):
    ids, vectors, queries, excluded, limit = world
    hits = Exact.build(ids, vectors).search(queries, limit, excluded=excluded)
    for q, query in enumerate(queries):
        assert hits.ids(q).tolist() == by_hand(ids, vectors, query, set(excluded[q].tolist()), limit)


@implementations
@given(world=worlds())
@settings(max_examples=40, deadline=None)
def test_as_many_as_asked_never_a_hole_never_an_excluded_id(build: Build, world):
    ids, vectors, queries, excluded, limit = world
    index = build(ids, vectors)
    for without in (excluded, None):
        hits = index.search(queries, limit, excluded=without)
        for q, query in enumerate(queries):
            allowed = set(ids.tolist()) - (set(without[q].tolist()) if without else set())
            found = hits.ids(q).tolist()
            assert len(found) == len(set(found)) == min(limit, len(allowed))
            assert set(found) <= allowed
            scores = hits.scores(q)
            np.testing.assert_allclose(scores, index.vectors(hits.ids(q)) @ query, rtol=1e-5)
            ranking = sorted(zip((-scores).tolist(), found, strict=True))
            assert found == [i for _, i in ranking], "best first, ties by the smaller id"


@implementations
@given(world=worlds())
@settings(max_examples=30, deadline=None)
def test_a_batch_answers_as_its_queries_one_by_one(build: Build, world):
    ids, vectors, queries, excluded, limit = world
    index = build(ids, vectors)
    together = index.search(queries, limit, excluded=excluded)
    for q in range(len(queries)):
        alone = index.search(queries[q : q + 1], limit, excluded=excluded[q : q + 1])
        assert alone.ids(0).tolist() == together.ids(q).tolist()


@implementations
def test_a_sum_over_all_items_is_exact_or_not_given(build: Build):
    rng = np.random.default_rng(0)
    index = build(np.arange(50), rng.standard_normal((50, 4)))
    queries = 30 * rng.standard_normal((7, 4)).astype(np.float32)
    asked = index.search(queries, 3, excluded=[np.arange(40)] * 7, log_sums=True).log_sum_Q
    assert asked is not None
    if isinstance(index, Inverted):
        assert np.isnan(asked).all()
    else:
        np.testing.assert_allclose(asked, logsumexp(queries @ index.vectors(np.arange(50)).T, axis=1), rtol=1e-5)
    assert index.search(queries, 3).log_sum_Q is None


@implementations
def test_when_everything_is_excluded_nothing_is_found(build: Build):
    index = build(np.arange(5), np.eye(5, dtype=np.float32))
    hits = index.search(np.ones((2, 5), np.float32), 3, excluded=[np.arange(5), np.array([], np.int64)])
    assert hits.count_Q.tolist() == [0, 3]
    assert hits.ids(0).tolist() == []


@implementations
def test_saved_and_loaded_is_identical(build: Build, tmp_path: Path):
    rng = np.random.default_rng(0)
    index = build(rng.permutation(300) + big, rng.standard_normal((300, 8)))
    index.save(tmp_path)
    again = load(tmp_path)
    queries = rng.standard_normal((20, 8)).astype(np.float32)
    before, after = index.search(queries, 30), again.search(queries, 30)
    assert (before.id_QN == after.id_QN).all()
    assert (before.score_QN == after.score_QN).all()
    assert isinstance(again.segment, type(index))
    assert again.segment.info() == index.info()
    assert (again.ids() == index.ids()).all()


@implementations
@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
def test_a_damaged_file_is_refused_by_its_name(build: Build, damage: str, tmp_path: Path):
    build(np.arange(64), np.random.default_rng(1).standard_normal((64, 4))).save(tmp_path)
    load(tmp_path)  # the control: undamaged, it loads
    names = [file.name for file in tmp_path.iterdir()]
    assert len(names) >= 3
    for name in names:
        whole = (tmp_path / name).read_bytes()
        if damage == "flip":
            middle = len(whole) // 2
            (tmp_path / name).write_bytes(whole[:middle] + bytes([whole[middle] ^ 255]) + whole[middle + 1 :])
        elif damage == "cut":
            (tmp_path / name).write_bytes(whole[:-7])
        else:
            (tmp_path / name).unlink()
        with pytest.raises(ArtefactError, match=name):
            load(tmp_path)
        (tmp_path / name).write_bytes(whole)
    load(tmp_path)


@implementations
def test_an_index_of_a_later_format_is_refused_with_both_versions(build: Build, tmp_path: Path):
    build(np.arange(3), np.eye(3)).save(tmp_path)
    description = tmp_path / "index.json"
    description.write_text(description.read_text().replace('"version": 2', '"version": 3'))
    with pytest.raises(ArtefactError, match="version 3; expected multitudes-index version 2"):
        load(tmp_path)


@implementations
@pytest.mark.parametrize(
    ("ids", "vectors", "message"),
    [
        ([1, 2], [[1.0, np.nan], [0.0, 1.0]], "not finite"),
        ([1, 2], [[1.0, 1e39], [0.0, 1.0]], "not finite"),  # finite in float64, infinite after the cast
        ([1, 2], [[1.0, 1e30], [0.0, 1.0]], "longer than 1e19"),  # its score with itself would overflow
        ([7, 7], [[1.0, 0.0], [0.0, 1.0]], "id 7 is given twice"),
        ([1], [[1.0, 0.0], [0.0, 1.0]], "1 ids, 2 vectors"),
        ([1.5, 2.0], [[1.0, 0.0], [0.0, 1.0]], "expected integers"),
        ([], np.zeros((0, 3)), "0 vectors|expected integers"),
        ([1, 2], [1.0, 2.0], "expected a matrix"),
    ],
)
def test_bad_vectors_and_ids_are_refused_at_the_border(build: Build, ids, vectors, message: str):
    with pytest.raises(DataError, match=message):
        build(ids, vectors)


@implementations
def test_bad_queries_are_refused_at_the_border(build: Build):
    index = build(np.arange(3), np.eye(3, dtype=np.float32))
    with pytest.raises(UsageError, match="2 dimensions; the index holds 3"):
        index.search(np.ones((1, 2), np.float32), 1)
    with pytest.raises(DataError, match="vector of a query"):
        index.search(np.full((1, 3), np.nan, np.float32), 1)
    with pytest.raises(UsageError, match="1 exclusions for 2 queries"):
        index.search(np.ones((2, 3), np.float32), 1, excluded=[np.array([1])])
    with pytest.raises(UsageError, match="id 9 is not in the index"):
        index.vectors(np.array([1, 9]))
