"""What an engine must not propose, it does not propose; all else it may."""

import numpy as np
import pytest

from multitudes.index import hnsw, inverted
from multitudes.index.selector import nothing

ITEMS = 61  # no multiple of eight: the last byte of a bitmap is not full
VECTORS = np.random.default_rng(0).standard_normal((ITEMS, 4)).astype(np.float32)


@pytest.mark.parametrize("module", [inverted, hnsw])
def test_all_but_the_excluded_rows_are_proposed(module):
    engine = module.build(np.arange(ITEMS), VECTORS)._engine
    without = np.array([0, 7, 8, 33, ITEMS - 1])
    out = nothing(ITEMS).also(without)
    row_QM = engine.propose(VECTORS[:3], engine.efforts()[-1], ITEMS, out.among)
    for row_M in row_QM:
        assert sorted(row_M[row_M >= 0].tolist()) == sorted(set(range(ITEMS)) - set(without.tolist()))
    everything = engine.propose(VECTORS[:3], engine.efforts()[-1], ITEMS, nothing(ITEMS).among)
    assert np.isin(without, everything).all(), "the control: without an exclusion they are proposed"


def test_what_is_left_out_adds_up_and_leaves_what_was_before_as_it_was():
    first = nothing(ITEMS).also(np.array([3, 9, 60]))
    both = first.also(np.array([0, 9]))
    for out, rows in ((nothing(ITEMS), []), (first, [3, 9, 60]), (both, [0, 3, 9, 60])):
        assert out.row_E.tolist() == rows
        assert np.flatnonzero(np.unpackbits(out.bits, bitorder="little")[:ITEMS] == 0).tolist() == rows
