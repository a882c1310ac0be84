"""The section of records/index.md on trained runs: recall as stated and as found."""

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.index.runs import PLAIN, TOPIC, UNSEEN
from benchmarks.markdown import table

_TEXT = """The item vectors of a trained run are indexed in each way, whatever their number, and tuned on the vectors of
one half of some users; the other half asks. *Stated* is the recall that was promised. Found is the mean over users, and
its lower bound (95 %); **bold** where the mean lies below the promise. *Unseen*: without what the user has seen.
*Topic*: within the topic of a random item; one of more than 5 % of the items is left to the engine, and not scanned.
"""


def section(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the lines; none where there are no runs."""
    if not runs:
        return []
    rows = [_row(run, engine, depth) for run in runs for engine in run["engines"] for depth in _depths(run, engine)]
    head = ["run, method", "items", "cosine", "engine", "depth", "stated", "found", "unseen", "topic"]
    return ["## Trained runs of real data", "", _TEXT, *table(head, rows)]


def _depths(run: Mapping[str, Any], engine: str) -> list[int]:
    return [found["depth"] for found in run["engines"][engine]["found"] if found["question"] == PLAIN]


def _row(run: Mapping[str, Any], engine: str, depth: int) -> list[str]:
    one = run["engines"][engine]
    promise = one["info"]["tuning"]["promise"]["recall"]
    found = {f["question"]: f for f in one["found"] if f["depth"] == depth}
    cells = [_cell(found[name], promise) if name in found else "" for name in (PLAIN, UNSEEN, TOPIC)]
    name = f"{run['name']}, {run['method']}"
    cosine = "" if run["mean_cosine"] is None else f"{run['mean_cosine']:.2f}"
    return [name, f"{run['items']:,}", cosine, engine, f"{depth:,}", f"{promise:.2f}", *cells]


def _cell(found: Mapping[str, Any], promise: float) -> str:
    text = f"{found['recall']:.3f} [{found['at_least']:.3f}]"
    return text if found["recall"] >= promise else f"**{text}**"
