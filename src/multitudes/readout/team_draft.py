"""Team-draft interleaving: the lists of several arms become one list for one user, who decides between them.

In an A/B test users differ by much more than arms do; here each user compares the arms, so far fewer show a
difference. In every round each arm picks the best of its list that nobody has picked yet, in an order that is drawn
anew (Radlinski, Kurup and Joachims 2008; for more than two arms Schuth et al. 2014). So each arm is equally often above
the others, and that first places are looked at more favours none. An order that is always the same does favour the
first: ``benchmarks/readout`` has both.
"""

from collections.abc import Hashable, Mapping, Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T", bound=Hashable)


def team_draft(rankings: Mapping[str, Sequence[T]], n: int, generator: np.random.Generator) -> dict[T, str]:
    """Return one list of at most ``n`` items, best first: each with the arm whose pick it is, which is credited.

    Args:
        rankings: the list of each arm, best first; those of ``n`` items are always enough. Where one comes to its end,
            the whole ends with the last round of all arms, or the others would have more places.
        n: places.
        generator: the order of each round is drawn of it.
    """
    arms = list(rankings)
    left = [iter(rankings[arm]) for arm in arms]
    drafted: dict[T, str] = {}
    for order in generator.random((n, len(arms))).argsort(axis=1).tolist():
        picks: dict[T, str] = {}
        for arm in order[: n - len(drafted)]:
            picked = next((item for item in left[arm] if item not in drafted and item not in picks), None)
            if picked is None:
                return drafted
            picks[picked] = arms[arm]
        drafted |= picks
    return drafted
