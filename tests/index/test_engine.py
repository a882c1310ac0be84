"""An engine proposes exactly the rows that are allowed."""

import numpy as np

from multitudes.index import inverted
from multitudes.index.engine import ExcludedRows, Level, QueryLevels

ITEMS = 61  # no multiple of eight: the last byte of a bitmap is not full
NOTHING = ExcludedRows(np.zeros(0, np.int64), ITEMS)
VECTORS = np.random.default_rng(0).standard_normal((ITEMS, 4)).astype(np.float32)


def test_all_but_the_excluded_rows_are_proposed():
    engine = inverted.build(np.arange(ITEMS), VECTORS)._engine
    without = np.array([0, 7, 8, 33, ITEMS - 1])
    levels, wanted = (
        QueryLevels.from_levels([Level(ITEMS, engine.efforts()[-1], ITEMS, 1.0, 1.0, 1.0)] * 3),
        np.full(3, ITEMS),
    )
    out = NOTHING.with_rows(without)
    row_QM = engine.propose(VECTORS[:3], levels, wanted, out.allowed_bits)
    for row_M in row_QM:
        assert sorted(row_M[row_M >= 0].tolist()) == sorted(set(range(ITEMS)) - set(without.tolist()))
    everything = engine.propose(VECTORS[:3], levels, wanted, NOTHING.allowed_bits)
    assert np.isin(without, everything).all(), "control: without an exclusion they are proposed"


def test_exclusions_add_up_and_do_not_change_earlier_ones():
    first = NOTHING.with_rows(np.array([3, 9, 60]))
    both = first.with_rows(np.array([0, 9]))
    assert NOTHING.with_rows(NOTHING.row_E).allowed_bits is None
    for out, rows in ((first, [3, 9, 60]), (both, [0, 3, 9, 60])):
        assert out.row_E.tolist() == rows
        assert out.allowed_bits is not None
        assert np.flatnonzero(np.unpackbits(out.allowed_bits, bitorder="little")[:ITEMS] == 0).tolist() == rows


def test_the_proposals_of_a_query_do_not_depend_on_other_queries():
    rng = np.random.default_rng(2)
    few, queries = (rng.standard_normal((n, 8)).astype(np.float32) for n in (500, 12))
    engine = inverted.build(np.arange(2_000), few[rng.integers(500, size=2_000)])._engine  # copies: codes that tie
    efforts, count_Q = engine.efforts(), np.array([20, 40, 41, 300] * 3)
    levels = QueryLevels.from_levels([Level(10, efforts[(3 * q) % len(efforts)], 50, 1.0, 1.0, 1.0) for q in range(12)])
    together_QM = engine.propose(queries, levels, count_Q)
    for q in range(12):
        alone = engine.propose(
            queries[q : q + 1], QueryLevels(*(column[q : q + 1] for column in levels)), count_Q[q : q + 1]
        )
        assert alone.shape == (1, count_Q[q])
        assert sorted(together_QM[q][together_QM[q] >= 0]) == sorted(alone[alone >= 0])
    assert (together_QM[3::4] >= 0).sum() > (together_QM[::4] >= 0).sum() > 0


def test_copies_of_one_item_are_proposed_in_full():
    rng = np.random.default_rng(3)
    vectors, queries = (rng.standard_normal((n, 8)).astype(np.float32) for n in (2_000, 4))
    vectors[:300] = 2 * queries[0]
    engine = inverted.build(np.arange(2_000), vectors)._engine
    levels, count_Q = (
        QueryLevels.from_levels([Level(10, engine.efforts()[-1], 50, 1.0, 1.0, 1.0)] * 4),
        np.array([50, 70, 50, 60]),
    )
    row_QM = engine.propose(queries, levels, count_Q)
    assert (row_QM[0] >= 0).sum() == 50
    assert (row_QM[0] < 300).all()
    assert (
        row_QM[0, :50].tolist()
        == engine.propose(queries[:1], QueryLevels(*(column[:1] for column in levels)), count_Q[:1])[0].tolist()
    )
