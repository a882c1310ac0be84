"""Two lists that take turns, beside a slow loop."""

import numpy as np
import pytest
from numpy.typing import NDArray

from multitudes.batches.interleave import interleave


def slowly(items: list[int], others: list[int], share: float, n: int) -> list[int]:
    """Take turns until both lists have ended; an item that was taken is passed over."""
    taken, own, other = list[int](), iter(items), iter(others)
    left, turn = len(items) + len(others), 0
    while left and turn < 10_000:
        which = other if int((turn + 1) * share) > int(turn * share) else own
        item, turn = next(which, None), turn + 1
        if item is not None:
            left -= 1
            if item not in taken:
                taken.append(item)
    return taken[:n]


def taken(items: NDArray[np.int64], others: NDArray[np.int64], share: float, n: int) -> list[int]:
    chosen: list[int] = np.concatenate([items, others])[interleave(items, others, share, n)].tolist()
    return chosen


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5, 0.75, 0.9])
def test_random_lists_take_turns_as_in_a_loop_and_a_shorter_list_is_the_beginning_of_a_longer_one(share: float):
    rng = np.random.default_rng(0)
    for _ in range(50):
        first, second = (rng.permutation(30)[: rng.integers(0, 25)] for _ in range(2))
        whole = taken(first, second, share, 40)
        assert whole == slowly(first.tolist(), second.tolist(), share, 40)
        for n in (1, 5, 12):
            assert taken(first[:n], second[:n], share, n) == whole[:n]


def test_with_half_of_the_turns_every_second_item_is_of_the_second_list():
    assert taken(np.array([1, 2, 3]), np.array([9, 2, 8]), 0.5, 5) == [1, 9, 2, 3, 8]
    rows = interleave(np.array([1, 2, 3]), np.array([9, 2, 8]), 0.5, 5)
    assert rows.tolist() == [0, 3, 1, 2, 5], "an item belongs to the list whose turn it was"
