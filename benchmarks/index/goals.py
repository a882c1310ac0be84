"""The figures held to what the index was asked for: reached, or missed by how much.

A goal is judged twice: by the wall's clock, and by processor time, which hardly depends on who else is at work.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from benchmarks.index.records import Parts
from benchmarks.index.requests import ALL_DEEP, ALONE, BARE, IN_FULL, SHARED, UNSEEN
from benchmarks.index.world import CASES
from benchmarks.markdown import format_number

CLOCKS = ("ms", "cpu_ms")
LARGE = 10_000_000  # items from which the goal of memory holds, and that of a build below a minute does not
RECALL = 0.97


class Goal(NamedTuple):
    """What was asked for, and how it is read from the figures, by one clock."""

    name: str
    limit: float
    unit: str
    at_most: bool
    read: Callable[[Parts, str], float | None]


class Verdict(NamedTuple):
    """A goal with what was measured by each clock; the same where no clock is read."""

    goal: Goal
    values: dict[str, float]

    def __str__(self) -> str:
        """Say whether it was reached, and by how much it was missed."""
        wall, cpu = (
            f"{verdict_text(self.goal, value)} ({format_number(value)}{self.goal.unit})"
            for value in self.values.values()
        )
        return wall if wall == cpu else f"{wall}; CPU {cpu}"


def verdict_text(goal: Goal, value: float) -> str:
    """Return whether a goal was reached, and the share of its limit by which it was missed."""
    beyond = value / goal.limit - 1 if goal.at_most else 1 - value / goal.limit
    if beyond <= 0:
        return "reached"
    return f"**missed by {beyond:.0%}**" if beyond >= 0.01 else f"**missed by {beyond:.2%}**"


def verdicts(parts: Parts, items: int) -> dict[str, Verdict]:
    """Return the verdict of every goal that holds for a corpus of this size and that was measured."""
    found: dict[str, Verdict] = {}
    for goal in goals(items):
        values = {clock: goal.read(parts, clock) for clock in CLOCKS}
        known = {clock: value for clock, value in values.items() if value is not None}
        if len(known) == len(CLOCKS):
            found[goal.name] = Verdict(goal, known)
    return found


def goals(items: int) -> list[Goal]:
    """Return the goals for a corpus of this size."""
    return [*_REQUESTS, *_topics(), *_FILES, *([_MEMORY] if items >= LARGE else [_BUILD])]


def _ratio(above: str, below: str, percentile: str) -> Callable[[Parts, str], float | None]:
    def read(parts: Parts, clock: str) -> float | None:
        requests = parts.get("requests")
        if requests is None:
            return None
        return float(requests[above][clock][percentile]["median"] / requests[below][clock][percentile]["median"])

    return read


def _recall(part: str, *ways: str) -> Callable[[Parts, str], float | None]:
    """Return the worst recall of some ways of asking."""
    return lambda parts, _: min(parts[part][way]["recall"] for way in ways) if part in parts else None


def _time(part: str, way: str) -> Callable[[Parts, str], float | None]:
    return lambda parts, clock: parts[part][way][clock]["p50"]["median"] if part in parts else None


def _usual(parts: Parts, clock: str) -> float | None:
    """Return our time in that of FAISS's usual make, both at the recall that was asked for."""
    if "curve" not in parts:
        return None
    ours, theirs = (at_recall(parts["curve"][make], RECALL, clock) for make in ("ours", "faiss"))
    return ours / theirs if ours and theirs else None


def at_recall(points: Sequence[Mapping[str, Any]], recall: float, clock: str) -> float | None:
    """Return the time at which a curve crosses a recall, between its neighbouring points; None where it does not."""
    for below, above in pairwise(points):
        if below["recall"] < recall <= above["recall"]:
            share = (recall - below["recall"]) / (above["recall"] - below["recall"])
            low, high = (point[clock]["p50"]["median"] for point in (below, above))
            return float(low + share * (high - low))
    return None


def _topics() -> list[Goal]:
    limits = {"0.1 %": (1, 1), "1 %": (3, 1), "10 %": (15, RECALL)}
    found = []
    for case in CASES:
        most_ms, recall = limits[case.removesuffix(" correlated")]
        found.append(Goal(f"topic of {case}", most_ms, " ms", True, _time("topics", case)))
        found.append(Goal(f"topic of {case}: recall", recall, "", False, _recall("topics", case, f"{case}, excluded")))
    return found


def _opened(parts: Parts, clock: str) -> float | None:
    opened = parts.get("open")
    return float(opened["verified_ms"]["wall" if clock == "ms" else "cpu"]["median"]) if opened else None


def _threads(parts: Parts, clock: str) -> float | None:
    threads = parts.get("threads")
    return float(threads["times" if clock == "ms" else "cpu_times"]) if threads else None


def _built(parts: Parts, clock: str) -> float | None:
    built = parts.get("build")
    return float(built["seconds" if clock == "ms" else "cpu_s"]) if built else None


def _peak(parts: Parts, _: str) -> float | None:
    return float(parts["record"]["build"]["peak_mib"]) / 1024 if "build" in parts else None


_REQUESTS = [
    Goal("recall, whatever the limit", RECALL, "", False, _recall("requests", IN_FULL, SHARED, ALONE, ALL_DEEP)),
    Goal(f"{IN_FULL}: time of the bare call", 1.2, " ×", True, _ratio(IN_FULL, IN_FULL + BARE, "p50")),
    Goal(f"{ALONE}: time of the bare call", 1.2, " ×", True, _ratio(ALONE, ALONE + BARE, "p50")),
    Goal(f"{IN_FULL} at recall {RECALL}: time of FAISS's usual make", 1.2, " ×", True, _usual),
    Goal(f"{UNSEEN}: time without", 1.3, " ×", True, _ratio(UNSEEN, IN_FULL, "p50")),
    Goal(f"{UNSEEN}: recall", RECALL, "", False, _recall("requests", UNSEEN)),
    Goal(f"{SHARED}: p90 of {ALONE}", 1.5, " ×", True, _ratio(SHARED, ALONE, "p90")),
]
_FILES = [
    Goal("opened, checksums verified", 50, " ms", True, _opened),
    Goal("two threads: requests of one", 1.7, " ×", False, _threads),
]
_BUILD = Goal("built and tuned", 60, " s", True, _built)
_MEMORY = Goal("memory of the build", 12, " GiB", True, _peak)
