"""Two lists that take turns, beside a slow loop."""

from fractions import Fraction

import numpy as np
import pytest
from numpy.typing import NDArray

from multitudes.retrieval.search import interleave


def slowly(items: list[int], others: list[int], share: Fraction, n: int) -> list[int]:
    """Take the next item of the list that is less far on its way; an item that was taken is passed over."""
    found, own, other = list[int](), 0, 0
    while own < len(items) or other < len(others):
        is_own = other == len(others) or (
            own < len(items) and (own + Fraction(1, 2)) / (1 - share) <= (other + Fraction(1, 2)) / share
        )
        item = items[own] if is_own else others[other]
        own, other = own + is_own, other + (not is_own)
        if item not in found:
            found.append(item)
    return found[:n]


def taken(items: NDArray[np.int64], others: NDArray[np.int64], share: float, n: int) -> list[int]:
    chosen: list[int] = np.concatenate([items, others])[interleave(items, others, share, n)].tolist()
    return chosen


@pytest.mark.parametrize("share", [Fraction(1, 8), Fraction(1, 4), Fraction(1, 2), Fraction(3, 4), Fraction(15, 16)])
def test_random_lists_take_turns_as_in_a_loop_and_a_shorter_list_is_the_beginning_of_a_longer_one(share: Fraction):
    rng = np.random.default_rng(0)
    for _ in range(50):
        first, second = (rng.permutation(30)[: rng.integers(0, 25)] for _ in range(2))
        whole = taken(first, second, float(share), 40)
        assert whole == slowly(first.tolist(), second.tolist(), share, 40)
        for n in (1, 5, 12):
            assert taken(first[:n], second[:n], float(share), n) == whole[:n]
