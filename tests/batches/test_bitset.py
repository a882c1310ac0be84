"""Chosen numbers of a range are those of a list, wherever the words and the pieces end."""

import numpy as np
import pytest

from multitudes.batches.windows import Bitset


@pytest.mark.parametrize("size", [1, 63, 64, 65, 1_000, 100_003])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 1.0])
def test_members_are_selected_by_rank_and_by_range(size: int, share: float) -> None:
    random = np.random.default_rng(size)
    chosen = random.random(size) < share
    listed, marked = np.flatnonzero(chosen), Bitset(np.array_split(chosen, 7))
    assert (len(marked), marked.size) == (len(listed), size)
    assert np.array_equal(marked.to_array(), listed)
    places = random.permutation(len(listed))
    assert np.array_equal(marked.select(places), listed[places])
    for low, high in np.sort(random.integers(0, size + 1, (50, 2))).tolist():
        assert np.array_equal(marked.between(low, high), listed[(listed >= low) & (listed < high)])


def test_ranks_keep_their_shape_and_an_empty_set_is_empty() -> None:
    marked = Bitset([np.array([False, True, True, False, True])])
    assert marked.select(np.array([[0, 1], [2, 0]])).tolist() == [[1, 2], [4, 1]]
    assert int(marked.select(np.array(2))) == 4
    assert len(Bitset([])) == len(Bitset([]).to_array()) == 0
