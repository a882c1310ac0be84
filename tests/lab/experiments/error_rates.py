"""Error rates of a readout in experiments whose truth is known.

Legend: B users · L looks.
"""

from collections.abc import Callable
from math import exp, sqrt
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest, norm

from multitudes.seeding import generator
from multitudes_lab.experiments import assignment, confidence_sequence
from multitudes_lab.experiments.lift import CRITICAL_Z, Lift, estimate_lift
from multitudes_lab.experiments.moments import Moments, user_moments
from multitudes_lab.experiments.power import PowerAnalysis, metric_baseline, sample_size
from tests.lab.experiments.draws import Column, Drawn, draw

ALPHA = 0.05


class Rate(NamedTuple):
    """Number of experiments with an event, of all experiments."""

    found: int
    experiments: int

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Return the exact interval of the share (Clopper and Pearson)."""
        found = binomtest(self.found, self.experiments).proportion_ci(level)
        return found.low, found.high

    def record(self) -> dict[str, Any]:
        """Return the rate as a JSON object."""
        low, high = self.interval()
        return {"share": self.found / self.experiments, "low": low, "high": high, **self._asdict()}


def false_positives(experiments: int, users: int, seed: int) -> dict[str, Rate]:
    """Return the false positives at one planned look, if nothing differs; ``by rows`` takes sessions as the units."""
    counts = dict.fromkeys(("sum", "sum, CUPED", "ratio", "ratio, CUPED", "ratio by rows"), 0)
    for number in range(experiments):
        control, treatment = _pair(seed, "null", number, users)
        counts["sum"] += _found(control.sums(), treatment.sums())
        counts["sum, CUPED"] += _found(control.sums(cuped=True), treatment.sums(cuped=True))
        counts["ratio"] += _found(control.ratio(), treatment.ratio())
        counts["ratio, CUPED"] += _found(control.ratio(cuped=True), treatment.ratio(cuped=True))
        counts["ratio by rows"] += by_rows(control, treatment) <= ALPHA
    return {name: Rate(int(count), experiments) for name, count in counts.items()}


def by_rows(control: Drawn, treatment: Drawn) -> float:
    """Return the p-value of saves per session as if sessions were independent: the control, which errs."""
    (saves_c, n_c), (saves_t, n_t) = ((one.saves_B.sum(), one.sessions_B.sum()) for one in (control, treatment))
    share = (saves_c + saves_t) / (n_c + n_t)
    z = (saves_t / n_t - saves_c / n_c) / sqrt(share * (1 - share) * (1 / n_c + 1 / n_t))
    return float(2 * norm.sf(abs(z)))


def coverage(experiments: int, users: int, seed: int, lift: float, active: float = 1.0) -> dict[str, Rate]:
    """Return how often the 95 % interval covers the planted lift: Fieller's, and the delta method's on two scales."""
    ways: dict[str, Callable[[Lift], tuple[float | None, float | None]]] = {
        "Fieller": Lift.interval,
        "linear": linear,
        "logarithmic": logarithmic,
    }
    counts = {f"{metric}, {way}": 0 for metric in ("sum", "sum, CUPED", "ratio") for way in ways}
    for number in range(experiments):
        control, treatment = _pair(seed, "planted", number, users, lift, active)
        pairs = {
            "sum": (control.sums(), treatment.sums()),
            "sum, CUPED": (control.sums(cuped=True), treatment.sums(cuped=True)),
            "ratio": (control.ratio(), treatment.ratio()),
        }
        for metric, moments in pairs.items():
            found = estimate_lift(*moments)
            for way, interval in ways.items():
                low, high = interval(found) if isinstance(found, Lift) else (None, None)
                counts[f"{metric}, {way}"] += low is None or high is None or low <= lift <= high
    return {name: Rate(count, experiments) for name, count in counts.items()}


def linear(found: Lift) -> tuple[float, float]:
    """Return lift ± 1.96 standard errors."""
    return found.value - CRITICAL_Z * found.error, found.value + CRITICAL_Z * found.error


def logarithmic(found: Lift) -> tuple[float | None, float | None]:
    """Return the same on the scale of log(treatment / control)."""
    if found.control <= 0 or found.treatment <= 0:
        return None, None
    ratio = found.treatment / found.control
    error = found.error / ratio
    return ratio * exp(-CRITICAL_Z * error) - 1, ratio * exp(CRITICAL_Z * error) - 1


def peeking(experiments: int, users: int, seed: int, every: int = 100, since: int = 500) -> dict[str, Rate]:
    """Return how often any look excludes zero, if users arrive one by one and nothing differs."""
    once = always = 0
    for number in range(experiments):
        stream = generator(seed, "peeking", number)
        drawn, treated_B = draw(stream, users), stream.random(users) < 0.5
        looks = np.arange(since, users + 1, every)
        of_both = [_at_looks(drawn.saves_B, treated_B == arm, looks) for arm in (False, True)]
        lifts = [_lift(control, treatment) for control, treatment in zip(*of_both, strict=True)]
        once += any(one.p <= ALPHA for one in lifts)
        always += any(_excludes(one) for one in lifts)
    return {"one planned look, taken every time": Rate(once, experiments), "sequential": Rate(always, experiments)}


def peeking_daily(experiments: int, users: int, seed: int, days: int, alike: bool) -> dict[str, Rate]:
    """Return the same if all users are there on the first day and their outcomes continue.

    Args:
        experiments: number of experiments.
        users: users of both arms.
        seed: seed of the draws.
        days: number of days; one look each.
        alike: all users have the same rate, so each day is independent of the others: the worst case for the theory.
    """
    once = always = 0
    for number in range(experiments):
        stream = generator(seed, "daily", days, alike, number)
        rate_B = np.ones(users) if alike else stream.gamma(0.5, 2.0, users)
        treated_B = stream.random(users) < 0.5
        total_LB = stream.poisson(rate_B, (days, users)).cumsum(axis=0).astype(np.float64)
        lifts = [_lift(_moments(total_B[~treated_B]), _moments(total_B[treated_B])) for total_B in total_LB]
        once += any(one.p <= ALPHA for one in lifts)
        always += any(_excludes(one) for one in lifts)
    return {"one planned look, taken every time": Rate(once, experiments), "sequential": Rate(always, experiments)}


def cuped(users: int, seed: int, correlations: tuple[float, ...]) -> list[dict[str, float]]:
    """Return the share of the variance that CUPED removes, beside the ρ² of theory."""
    found = []
    for correlation in correlations:
        stream = generator(seed, "cuped", correlation)
        before, noise = stream.normal(10, 3, (2, 2, users))
        after = 10 + correlation * (before - 10) + sqrt(1 - correlation**2) * (noise - 10)
        arms = [user_moments(np.stack([after[arm], np.ones(users), before[arm]], axis=1)) for arm in (0, 1)]
        lift = estimate_lift(*arms)
        assert isinstance(lift, Lift)
        found.append({"correlation": correlation, "theory": correlation**2, "taken_off": lift.explained})
    return found


def ratios(experiments: int, users: int, seed: int, share: float) -> Rate:
    """Return how often the test for sample ratio mismatch rejects if the first arm gets ``share`` of the users."""
    stream = generator(seed, "ratio", share)
    planned = {"control": 1.0, "treatment": 1.0}
    first = stream.binomial(users, share, experiments)
    fired = sum(
        not assignment.check_sample_ratio({"control": int(n), "treatment": int(users - n)}, planned).ok for n in first
    )
    return Rate(fired, experiments)


def power(experiments: int, seed: int, lift: float) -> dict[str, Any]:
    """Return how often a lift is detected with the number of users that the power analysis gives for 80 %."""
    known = {"sum": metric_baseline(draw(generator(seed, "past"), 400_000).sums())}
    known["sum, CUPED"] = metric_baseline(draw(generator(seed, "past"), 400_000).sums(cuped=True))
    result = {}
    for name, one in known.items():
        users = sample_size(lift, one, PowerAnalysis())
        found = 0
        for number in range(experiments):
            control, treatment = _pair(seed, f"power {name}", number, users, lift)
            with_covariate = name != "sum"
            found += _found(control.sums(cuped=with_covariate), treatment.sums(cuped=with_covariate))
        result[name] = {"users_per_arm": users, "lift": lift, **Rate(found, experiments).record()}
    return result


def _pair(seed: int, name: str, number: int, users: int, lift: float = 0.0, active: float = 1.0) -> tuple[Drawn, Drawn]:
    stream = generator(seed, name, number)
    return draw(stream, users, active=active), draw(stream, users, lift, active)


def _found(control: Moments, treatment: Moments) -> bool:
    lift = estimate_lift(control, treatment)
    return isinstance(lift, Lift) and lift.p <= ALPHA


def _at_looks(value_B: Column, mine_B: NDArray[np.bool_], looks: NDArray[np.int64]) -> list[Moments]:
    """Return the moments of an arm's users at each look, when ``looks`` users have arrived."""
    columns = mine_B.astype(np.float64), mine_B * value_B, mine_B * value_B**2
    n, total, square = (np.cumsum(column)[looks - 1] for column in columns)
    variance = (square - total**2 / n) / (n - 1)
    return [_of(int(m), mean, spread) for m, mean, spread in zip(n, total / n, variance, strict=True)]


def _moments(value_B: Column) -> Moments:
    return _of(len(value_B), float(value_B.mean()), float(value_B.var(ddof=1)))


def _of(n: int, mean: float, variance: float) -> Moments:
    return Moments(n, np.array([mean, 1.0]), np.diag([variance, 0.0]))


def _lift(control: Moments, treatment: Moments) -> Lift:
    lift = estimate_lift(control, treatment)
    assert isinstance(lift, Lift)
    return lift


def _excludes(lift: Lift) -> bool:
    low, high = lift.interval(confidence_sequence.radius(sum(lift.users)))
    return low is not None and high is not None and not low <= 0 <= high
