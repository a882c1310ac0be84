"""Tuning: the least sufficient effort, scanned topics, and what the seed draws."""

import numpy as np
import pytest

from multitudes.index import approximate
from multitudes.index.item_table import make_item_table
from multitudes.index.protocol import Hits
from multitudes.index.scan import scan
from multitudes.index.tuning import Level, ParameterGrid, RecallTarget, Sample, Tuning, sample_queries, tune
from tests.index.worlds import latent

EFFORTS = [2**power for power in range(12)]
GRID = ParameterGrid(EFFORTS, lambda depth: [over * depth + 32 for over in (2, 3, 4)])
TARGET = RecallTarget(recall=0.9, deepest=100, scanned=10)


@pytest.fixture(name="rows")
def _rows():
    return make_item_table(np.arange(2_000), np.random.default_rng(0).standard_normal((2_000, 4)))


@pytest.fixture(name="some")
def _some() -> Sample:
    drawn = np.random.default_rng(1).standard_normal((80, 4)).astype(np.float32)
    return Sample(drawn[:40], drawn[40:], "queries")


def finding(rows, share_of):
    """Return a search that finds the best part of the truth: ``share_of`` a level."""

    def ranked(query_QD: np.ndarray, level: Level) -> Hits:
        return scan(query_QD, rows.ids, rows.vectors_nD, round(level.depth * share_of(level)))

    return ranked


def test_the_least_sufficient_effort_is_found_for_every_depth_or_more_proposals(rows, some):
    ranked = finding(rows, lambda level: min(1.0, level.effort / (8 * level.depth)))
    tuned = tune(GRID, ranked, rows, some, TARGET)
    assert [(level.depth, level.effort) for level in tuned.levels] == [(10, 128), (20, 256), (50, 512), (100, 1024)]
    assert all(level.recall == level.at_least == level.checked == 1.0 for level in tuned.levels)
    ranked = finding(rows, lambda level: 1.0 if level.effort * level.depth >= 1_024 else 0.5)
    assert [level.effort for level in tune(GRID, ranked, rows, some, TARGET).levels] == [128, 64, 32, 16]
    ranked = finding(rows, lambda level: 1.0 if level.proposals >= 4 * level.depth + 32 else 0.5)
    assert [level.proposals for level in tune(GRID, ranked, rows, some, TARGET).levels] == [72, 112, 232, 432]
    tuned = tune(GRID, finding(rows, lambda level: 0.8 if level.depth != 50 else 1.0), rows, some, TARGET)
    assert [level.depth for level in tuned.levels] == [50]
    assert tuned.level_positions(np.array([0, 7, 50, 51])).tolist() == [0, 0, 0, 1], "the next deeper level, or a scan"


def test_the_mean_of_few_queries_is_not_taken_for_the_recall(rows):
    """Half of the queries find all, half nine tenths: 0.95 on average, with an error that four do not settle."""

    def ranked(query_QD: np.ndarray, level: Level) -> Hits:
        whole = scan(query_QD, rows.ids, rows.vectors_nD, level.depth)
        lacking = np.arange(len(query_QD)) % 2 == 0 if level.effort < 64 else np.zeros(len(query_QD), dtype=np.bool_)
        whole.id_QN[lacking, : level.depth // 10] = -1
        return whole

    drawn = np.random.default_rng(1).standard_normal((400, 4)).astype(np.float32)
    target = RecallTarget(recall=0.94, deepest=10, scanned=10)
    few, many = (tune(GRID, ranked, rows, Sample(drawn[:n], drawn[n:], "queries"), target) for n in (4, 200))
    assert few.levels[0].effort == 64
    assert many.levels[0].effort == 1
    assert many.levels[0].at_least < many.levels[0].recall == 0.95


def test_queries_of_similar_levels_share_a_call_each_at_its_next_tuned_depth():
    levels = tuple(Level(depth, depth // 2, 2 * depth + 32, 1.0, 1.0, 1.0) for depth in (10, 50, 100, 500, 1_000))
    tuning = Tuning(levels, TARGET, "queries", 1, 1)
    depth_Q = np.array([101, 7, 1_001, 700, 60, 50, 9_999])
    calls = list(tuning.group_queries(depth_Q, np.array([0, 1, 2, 3, 4, 5])))
    assert [where.tolist() for _, where in calls] == [[1, 4, 5], [0, 3], [2]]
    assert [levels and levels.depth_Q.tolist() for levels, _ in calls] == [[10, 100, 50], [500, 1_000], None]
    assert [column.tolist() for column in calls[0][0] or ()] == [[10, 100, 50], [5, 50, 25], [52, 232, 132]]
    many = list(tuning.group_queries(np.resize([10, 50], 200), np.arange(200)))
    assert [len(where) for _, where in many] == [100, 100], "many look at the same things anyway"
    assert [len(where) for _, where in tuning.group_queries(np.full(600, 10), np.arange(600))] == [256, 256, 88]


ITEMS = 2_000


class Blind:
    """Proposes the best items but for some, which it never sees; writes down how many queries it was asked."""

    def __init__(self, vectors_nD, blind_n) -> None:
        self._vectors_nD, self._blind_n, self.asked = vectors_nD, blind_n, 0

    def efforts(self) -> list[int]:
        return [1]

    def proposals(self, depth: int) -> list[int]:
        return [2 * depth + 32]

    def propose(self, query_QD, effort_Q, count_Q):
        self.asked += len(effort_Q)
        score_Qn = np.where(self._blind_n, -np.inf, query_QD @ self._vectors_nD.T)
        return np.argsort(-score_Qn, axis=1)[:, : count_Q.max()]


def test_the_seed_draws_what_is_tuned_on_and_validation_queries_are_others(rows):
    rng = np.random.default_rng(9)
    vectors, queries = latent(rng, 1_000, 32), latent(rng, 700, 32)
    first, again, other = (
        approximate.build(np.arange(1_000), vectors, queries=queries, seed=seed).info()["tuning"] for seed in (0, 0, 1)
    )
    assert first == again
    assert first != other
    queries = np.arange(40, dtype=np.float32).reshape(10, 4)
    some = sample_queries(queries, rows, seed=0)
    drawn = np.concatenate([some.tuning_QD, some.validation_QD])
    assert len(some.tuning_QD) == len(some.validation_QD) == 5
    assert sorted(drawn[:, 0].tolist()) == queries[:, 0].tolist()
    assert (
        sample_queries(None, rows, seed=0).name == sample_queries(queries[:1], rows, seed=0).name == "items with noise"
    )
