"""Settings of an evaluation."""

from typing import Literal

from pydantic import Field, field_validator

from multitudes.config import Config
from multitudes.data.prepared import Split

Controls = Literal["none", "main_budget", "all_budgets"]
BaselineChoice = Literal["none", "cheap", "all"]
SegmentName = Literal["history", "cohort", "popularity", "horizon", "topic_age"]


class EvaluateConfig(Config):
    """Settings of the offline protocol, section [evaluate]."""

    split: Split = Field("test", description="held-out split that is evaluated: validation or test")
    targets: Literal["new", "all", "both"] = Field(
        "both", description="new: first-time targets, history excluded; all: repeats too, nothing excluded; both"
    )
    budgets: tuple[int, ...] = Field(
        (20, 100, 1000), description="N, candidates of every system; N above half the items is left out"
    )
    max_users: int = Field(
        5000, ge=0, description="maximum number of users, sampled at random, the same each time; 0: all"
    )
    controls: Controls = Field(
        "main_budget",
        description="where a run with several vectors is compared with its controls; controls with one vector are cheap"
        " and evaluated at every budget, unless none",
    )
    baselines: BaselineChoice = Field(
        "all",
        description="cheap: those that count, such as popularity and covisit; all: also linear models, such as EASE,"
        " which are tuned on validation",
    )

    @field_validator("budgets")
    @classmethod
    def _check_budgets(cls, budgets: tuple[int, ...]) -> tuple[int, ...]:
        if not budgets or min(budgets) < 1:
            raise ValueError("expected at least one whole number from 1, such as [20, 100]")
        return tuple(sorted(set(budgets)))


def feasible_budgets(budgets: tuple[int, ...], n_items: int) -> tuple[int, ...]:
    """Return the budgets below half the items; half the items if no budget is that small.

    Above half the items a list says little: chance alone finds every second target.
    """
    return tuple(n for n in budgets if n < n_items / 2) or (max(1, n_items // 2),)


def main_budget(budgets: tuple[int, ...]) -> int:
    """Return the budget of segments and headlines: 100, or the nearest one below it, or the smallest one."""
    return max((n for n in budgets if n <= 100), default=min(budgets))
