"""How deep a mixture is searched: the tuned levels of an index, and the depth that a user needs.

The depth is the rank of the last result among all items, the excluded ones included.

Legend: L levels · E excluded items · U candidates.
"""

from bisect import bisect_left
from collections.abc import Sequence
from math import ceil, exp, log
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from multitudes.index.engine import Level

NORMALISER_FEATURES = 3
_MARGIN = 1.2  # on the excluded items above the last result: a walk too long costs a little, one too short a second one


class MixtureTuning(NamedTuple):
    """How a mixture is searched, and what was measured at the build.

    In a ``Level`` the effort is the number of pairs, the recall the share of the exact list that is found, without the
    items that a user excludes, and the height the mean log probability of its last item.
    """

    levels: tuple[Level, ...]  # of users without topics, which hold for all
    exact_lists: int  # heaviest lists of a vector whose items are summed exactly in its normaliser
    correction: tuple[float, ...]  # of the log normaliser: coefficients of its features, whose sum is subtracted
    error: float  # standard deviation of what remains, on other users
    users: int
    checked_on: int
    # Topics bring a part of the list beside the walk, so fewer pairs are enough where they have this share at least.
    with_topics: tuple[Level, ...] = ()  # empty: ``levels`` hold with topics too
    topic_share: float = 0.0
    promise: float | None = None  # share of the exact list that was to be found; None: an older build did not say
    floor: float | None = None  # a level that found less on the other users was dropped

    def to_record(self) -> dict[str, Any]:
        """Return the tuning as JSON values."""
        return self._asdict() | {
            name: [level._asdict() for level in levels]
            for name, levels in (("levels", self.levels), ("with_topics", self.with_topics))
        }

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> "MixtureTuning":
        """Return the tuning that ``to_record`` wrote.

        Raises:
            KeyError, TypeError, ValueError, AttributeError: it did not write this.
        """
        levels, with_topics = (_read_levels(record.get(name, [])) for name in ("levels", "with_topics"))
        correction = tuple(float(number) for number in record["correction"])
        if not levels or len(correction) != NORMALISER_FEATURES or not np.isfinite(correction).all():
            raise ValueError("no levels, or another correction")
        share = float(record.get("topic_share", 0.0))
        return cls(
            **{**record, "levels": levels, "with_topics": with_topics, "topic_share": share, "correction": correction}
        )


class MixtureFallback(NamedTuple):
    """Why each vector of a user is searched by itself, though the index has inverted lists."""

    promise: float  # share of the exact list that was to be found
    floor: float  # share to find on the users to check on, so that a level is used
    depth: int  # from here on a level was needed
    checked: float | None  # the largest share found there on the users to check on; None: nothing was checked
    checked_on: int
    reason: str


def _read_levels(records: Sequence[dict[str, Any]]) -> tuple[Level, ...]:
    levels = tuple(Level(**level) for level in records)
    numbers = np.array([level[:3] for level in levels], dtype=None if levels else np.int64).reshape(-1, 3)
    if numbers.dtype.kind != "i" or numbers.min(initial=1) < 1 or (np.diff(numbers[:, 0]) <= 0).any():
        raise ValueError("levels do not ascend")
    return levels


class Levels:
    """The levels of a tuning, between which depths are interpolated."""

    def __init__(self, levels: Sequence[Level]) -> None:
        self._deepest = levels[-1].depth if levels else 0
        self._log_depth_L = [log(level.depth) for level in levels]
        self._log_numbers = [[log(level.effort) for level in levels], [log(level.proposals) for level in levels]]
        self._height_L = [level.height or 0.0 for level in levels]

    def parameters(self, depth: int, n: int) -> tuple[int, int] | None:
        """Return the number of pairs and of candidates for ``n`` results at a depth; None: that was not tuned.

        What is excluded takes no place among the candidates, but codes misplace more of them the deeper they are.
        """
        if depth > self._deepest:
            return None
        log_pairs, log_kept = self._log_numbers
        return ceil(exp(self._at(depth, log_pairs))), ceil(exp(self._at((n + depth) // 2, log_kept)))

    def height(self, depth: int) -> float:
        """Return the mean log probability of the item of a rank."""
        return self._at(depth, self._height_L)

    def _at(self, depth: int, value_L: Sequence[float]) -> float:
        x = log(depth)
        right = bisect_left(self._log_depth_L, x)
        if right in (0, len(value_L)):
            return value_L[min(right, len(value_L) - 1)]
        left_x, right_x = self._log_depth_L[right - 1 : right + 1]
        return value_L[right - 1] + (value_L[right] - value_L[right - 1]) * (x - left_x) / (right_x - left_x)


def estimate_depth(levels: Levels, log_p_E: NDArray[np.float32], step: int, n: int) -> int:
    """Return the depth that is needed for ``n`` results, estimated from the excluded items; see ``needed_depth``."""

    def rank(nth: int) -> int:
        depth = nth
        for _ in range(2):
            above = step * int((log_p_E > levels.height(depth)).sum())
            depth = nth + int(np.ceil(_MARGIN * above))
        return depth

    return max(rank(n), 2 * rank((n + 1) // 2) - 1)


def needed_depth(log_p_U: NDArray[np.float32], log_p_E: NDArray[np.float32], step: int, n: int) -> int | None:
    """Return the depth that was needed for the best ``n`` candidates; None if there are fewer.

    It contains the last result, and the middle result is in its upper half, as without an exclusion.
    """
    log_p_U = np.sort(log_p_U[log_p_U > -np.inf])[::-1]
    if len(log_p_U) < n:
        return None
    middle = (n + 1) // 2
    last_rank, middle_rank = (nth + step * int((log_p_E > log_p_U[nth - 1]).sum()) for nth in (n, middle))
    return max(last_rank, 2 * middle_rank - 1)
