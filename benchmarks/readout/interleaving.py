"""Error rates of interleaved lists, and how many users they save, with two rankers whose difference is known.

Legend: B users · V visits · M candidate items · S places.
"""

from math import ceil
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from scipy.stats import norm

from benchmarks.readout.errors import ALPHA, Rate
from multitudes.seeding import generator
from multitudes_lab.experiments.interleaving import team_draft
from multitudes_lab.experiments.lift import CRITICAL_Z, Lift, estimate_lift, within_user_lift
from multitudes_lab.experiments.moments import user_moments

ITEMS, PLACES = 60, 10
NOISE, LESS_NOISE = 1.0, 0.8  # deviation of a ranker's noise; the appeal has 1.5. Their difference is the planted one
_LOOKED = 0.8 ** np.arange(PLACES)  # probability that a place is examined: position bias
_ARMS = ("control", "new")
Column = NDArray[np.float64]


class Seen(NamedTuple):
    """Saves of each user: by arm in an interleaved list, and by arm in a list of that arm alone."""

    credit_B2: Column
    alone_B2: Column

    def __len__(self) -> int:
        """Return the number of users."""
        return len(self.credit_B2)


class _InOrder:
    """Replaces a generator: the same arm is first in every round. This is the control, which errs."""

    def random(self, shape: tuple[int, int]) -> NDArray[np.int64]:
        return np.broadcast_to(np.arange(shape[1]), shape)


_BIASED = cast("np.random.Generator", _InOrder())


def seen(stream: np.random.Generator, users: int, noise: float, order: np.random.Generator | None = None) -> Seen:
    """Return the saves of users with long-tailed activity and an own readiness.

    Args:
        stream: random stream of all draws.
        users: B.
        noise: of the new ranker; the control's is ``NOISE``.
        order: draws the order of the rounds; None: ``stream``.
    """
    user_V = np.repeat(np.arange(users), 1 + stream.poisson(stream.lognormal(0.0, 0.8, users)))
    ready_B = stream.normal(-3.0, 1.0, users)
    appeal_VM = stream.normal(0.0, 1.5, (len(user_V), ITEMS))
    control_VS, new_VS = (
        np.argsort(-(appeal_VM + stream.normal(0.0, one, appeal_VM.shape)), axis=1)[:, :PLACES]
        for one in (NOISE, noise)
    )
    mixed_VS, of_new_VS = _mixed(control_VS, new_VS, order or stream)
    wants_VM = stream.random(appeal_VM.shape) < expit(ready_B[user_V, None] + appeal_VM)
    looked_VS = stream.random((len(user_V), PLACES)) < _LOOKED

    def saved(item_VS: NDArray[np.int64], counted_VS: NDArray[np.bool_] | bool = True) -> Column:
        saved_VS = np.take_along_axis(wants_VM, item_VS, axis=1) & looked_VS & counted_VS
        return np.asarray(saved_VS.sum(axis=1), dtype=np.float64)

    def per_user(*columns_V: Column) -> Column:
        return np.stack([np.bincount(user_V, weights=column_V, minlength=users) for column_V in columns_V], axis=1)

    return Seen(
        per_user(saved(mixed_VS, ~of_new_VS), saved(mixed_VS, of_new_VS)),
        per_user(saved(control_VS), saved(new_VS)),
    )


def _mixed(
    control_VS: NDArray[np.int64], new_VS: NDArray[np.int64], order: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return the interleaved lists, and which places hold picks of the new arm."""
    pairs = zip(control_VS.tolist(), new_VS.tolist(), strict=True)
    drafted = [team_draft(dict(zip(_ARMS, pair, strict=True)), PLACES, order) for pair in pairs]
    of_new_VS = np.array([list(one.values()) for one in drafted]) == _ARMS[1]
    return np.array([list(one) for one in drafted]), of_new_VS


def measure(experiments: int, users: int, seed: int, many: int) -> dict[str, Any]:
    """Return false positives, and the users that a planted difference needs, interleaved and in an A/B test.

    Args:
        experiments: number of experiments.
        users: users of each experiment without a difference.
        seed: seed of the draws.
        many: users from which the sizes of the other experiments are computed.
    """
    null = [Rate(_found(experiments, users, seed, NOISE, order), experiments) for order in (None, _BIASED)]
    sizes = needed(seen(generator(seed, "interleaved, many"), many, LESS_NOISE))
    found = [0, 0]
    for number in range(experiments):
        one = seen(generator(seed, "interleaved, planted", number), sizes["interleaved"], LESS_NOISE)
        found[0] += _prefers(one)
        found[1] += _differs(one)
    return {
        "users": users,
        "false positives": {
            "team draft": null[0].record(),
            "the control always first": null[1].record(),
        },
        "users for 80 %": sizes,
        "found with the users of the interleaved": {
            name: Rate(count, experiments).record() for name, count in zip(sizes, found, strict=True)
        },
    }


def needed(of: Seen) -> dict[str, int]:
    """Return how many users detect the difference with 80 % power: with interleaved lists, and in two halves."""
    square = (CRITICAL_Z + float(norm.ppf(0.8))) ** 2
    apart_B, gain_B = of.credit_B2[:, 1] - of.credit_B2[:, 0], of.alone_B2[:, 1] - of.alone_B2[:, 0]
    interleaved = square * apart_B.var() / apart_B.mean() ** 2
    halves = 2 * square * of.alone_B2.var(axis=0).sum() / gain_B.mean() ** 2
    return {"interleaved": ceil(interleaved), "A/B, both arms": ceil(halves)}


def _found(experiments: int, users: int, seed: int, noise: float, order: np.random.Generator | None) -> int:
    streams = (generator(seed, "interleaved, null", number) for number in range(experiments))
    return sum(_prefers(seen(stream, users, noise, order)) for stream in streams)


def _prefers(of: Seen) -> bool:
    lift = within_user_lift(user_moments(of.credit_B2[of.credit_B2.any(axis=1)]))
    return isinstance(lift, Lift) and lift.p <= ALPHA


def _differs(of: Seen) -> bool:
    """Return whether an A/B test detects the difference; the first half of the users has the control."""
    half = len(of) // 2
    arms = of.alone_B2[:half, 0], of.alone_B2[half:, 1]
    lift = estimate_lift(*(user_moments(np.stack([arm, np.ones_like(arm)], axis=1)) for arm in arms))
    return isinstance(lift, Lift) and lift.p <= ALPHA
