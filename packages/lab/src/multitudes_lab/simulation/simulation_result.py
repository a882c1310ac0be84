"""The result of a simulated experiment, from which its page and its JSON are made."""

from typing import Any, NamedTuple

import polars as pl

ALL_USERS = "everybody"
LOWER_IS_BETTER = ("hide",)  # metrics that should decrease


class ArmLift(NamedTuple):
    """The lift of one metric in one arm against the control."""

    metric: str
    arm: str
    cohort: str
    control: float  # mean over users and seeds
    treatment: float
    lift: float | None  # relative; None if the control has 0
    low: float | None  # 95 %
    high: float | None

    @property
    def significant(self) -> bool:
        """Whether the interval excludes zero."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)

    @property
    def verdict(self) -> str:
        """``better``, ``worse`` or ``not significant``."""
        if not self.significant:
            return "not significant"
        return "better" if ((self.lift or 0) > 0) != (self.metric in LOWER_IS_BETTER) else "worse"


class SimulationResult(NamedTuple):
    """A simulated experiment: its setup, lifts, saves by day, and what the arms showed."""

    name: str
    control: str
    arms: tuple[str, ...]
    seeds: tuple[int, ...]
    users: int
    items: int
    days: int
    lifts: tuple[ArmLift, ...]
    by_day: pl.DataFrame  # arm, day (0: first day of the test), feed_saves: per user, mean over seeds
    spread: pl.DataFrame  # arm, measure, value: mean over seeds

    def lifts_of(self, metric: str, cohort: str = ALL_USERS) -> list[ArmLift]:
        """Return the lift of a metric in each arm."""
        return [one for one in self.lifts if one.metric == metric and one.cohort == cohort]

    def to_json(self) -> dict[str, Any]:
        """Return the result as JSON; lifts are at metrics → metric → arm → cohort."""
        metrics: dict[str, Any] = {}
        for one in self.lifts:
            row = {key: getattr(one, key) for key in ("control", "treatment", "lift", "low", "high")}
            metrics.setdefault(one.metric, {}).setdefault(one.arm, {})[one.cohort] = row | {"shown": one.significant}
        spread: dict[str, dict[str, float]] = {}
        for arm, measure, value in self.spread.iter_rows():
            spread.setdefault(arm, {})[measure] = value
        head = ("name", "control", "arms", "seeds", "users", "items", "days")
        return {key: getattr(self, key) for key in head} | {"metrics": metrics, "spread": spread}
