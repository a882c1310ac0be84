"""Which followed topics condition a request: drawn at random, and the same again for the same request.

Legend: B users · F followed topics · C conditions.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from multitudes.seeding import stream_seed


def draw(
    follow_BF: NDArray[np.int64],
    topics: int,
    seed: int,
    user_B: NDArray[np.int64],
    request: str | Sequence[str] = "",
    first_BF: NDArray[np.bool_] | None = None,
) -> NDArray[np.int64]:
    """Draw at most ``topics`` distinct followed topics of each user, every one with equal chance (method §4).

    A function of (seed, user, request) alone: a request can be replayed, and a user's draw does not depend on the batch
    or on the order of the follows.

    Args:
        follow_BF: followed topics, 0 = padding.
        topics: C, conditions per request.
        seed: of the retrieval configuration.
        user_B: numbers of the users; any fixed number for someone without one.
        request: name of the request, or of each user's.
        first_BF: topics that come before all others; None: no topic does.

    Returns:
        Topics (B, C), 0 = none, at the end.
    """
    names = [request] * len(user_B) if isinstance(request, str) else request
    seeds = {name: stream_seed(seed, "conditions", name) for name in set(names)}
    base_B = np.array([seeds[name] for name in names], dtype=np.uint64)
    key_BF = _mixed(_mixed(base_B + user_B.astype(np.uint64))[:, None] + follow_BF.astype(np.uint64))
    key_BF[follow_BF == 0] = np.iinfo(np.uint64).max
    later_BF = np.zeros(follow_BF.shape, dtype=np.bool_) if first_BF is None else ~first_BF
    order_BC = np.lexsort((key_BF, later_BF), axis=1)[:, :topics]
    topic_BC = np.take_along_axis(follow_BF, order_BC, axis=1)
    missing = topics - topic_BC.shape[1]
    return np.pad(topic_BC, ((0, 0), (0, missing))) if missing > 0 else topic_BC


def _mixed(number: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Scramble 64-bit numbers (SplitMix64's finaliser): neighbours in, unrelated numbers out."""
    number = number + np.uint64(0x9E3779B97F4A7C15)
    number = (number ^ (number >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    number = (number ^ (number >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(number ^ (number >> np.uint64(31)))
