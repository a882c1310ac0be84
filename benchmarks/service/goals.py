"""The goals of the service, and whether the figures reach them."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from benchmarks.index.goals import Goal, verdict_text
from benchmarks.markdown import format_number

Figures = Mapping[str, Any]
MILLION = 1_000_000  # items from which the goals hold
RATE = 100  # requests a second, likewise


class Verdict(NamedTuple):
    """A goal with what was measured: by the wall's clock, and by the processor's where it says something too."""

    goal: Goal
    found: float
    by_cpu: float | None = None

    def __str__(self) -> str:
        """Return whether the goal was reached, or by how much it was missed."""
        wall = f"{verdict_text(self.goal, self.found)} ({format_number(self.found)}{self.goal.unit})"
        if self.by_cpu is None:
            return wall
        return f"{wall}; CPU {verdict_text(self.goal, self.by_cpu)} ({format_number(self.by_cpu)}{self.goal.unit})"


class MeasuredGoal(NamedTuple):
    """A goal, and how its figure is read from the record."""

    name: str
    limit: float
    unit: str
    at_most: bool
    read: Callable[[Figures], float]
    by_cpu: Callable[[Figures], float] | None = None


def _ratio(name: str) -> Callable[[Figures], float]:
    return lambda figures: float(figures["joint_over_single"][name]["median"])


def _of(method: str, name: str) -> Callable[[Figures], float]:
    return lambda figures: float(figures["methods"][method][name]["median"])


def _own_memory(figures: Figures) -> float:
    joint = figures["methods"]["joint"]
    return float(joint["memory_mib"]["own"] / joint["index_mib"])


GOALS = (
    MeasuredGoal("CPU of a request, twelve vectors to one", 1.25, " ×", True, _ratio("cpu_ms")),
    MeasuredGoal("p90, twelve vectors to one", 1.10, " ×", True, _ratio("p90_ms")),
    MeasuredGoal("p99 of twelve vectors", 25, " ms", True, _of("joint", "p99_ms")),
    MeasuredGoal("answers a second, twelve vectors to one", 0.8, " ×", False, _ratio("per_s"), _ratio("per_cpu_s")),
    MeasuredGoal("answers of twelve vectors a CPU second", 200, "", False, _of("joint", "per_cpu_s")),
    MeasuredGoal("CPU of a request of one vector", 4, " ms", True, _of("single", "cpu_ms")),
    MeasuredGoal(
        "from start to ready",
        3,
        " s",
        True,
        lambda figures: float(figures["methods"]["joint"]["ready_s"]),
        lambda figures: float(figures["methods"]["joint"]["ready_cpu_s"]),
    ),
    MeasuredGoal("own memory, of the files of the index", 1.5, " ×", True, _own_memory),
)


def verdicts(figures: Figures) -> list[Verdict]:
    """Return the verdict of every goal."""
    return [
        Verdict(Goal(*asked[:4], lambda _, __: None), asked.read(figures), asked.by_cpu and asked.by_cpu(figures))
        for asked in GOALS
    ]
