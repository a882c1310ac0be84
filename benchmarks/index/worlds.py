"""``python -m benchmarks.index.worlds``: mixtures in small random worlds of inverted lists beside brute force.

A world has a random number of items, dimensions, lists, topics and vectors of a user; items were added, replaced and
removed after the build; users exclude what is best for them, and a few nearly everything. The exact list has the items
that are most probable in float64. In the control, a walk reads as many pairs in the order of a user's first vector.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tests.index.mixture_worlds import Found, compare, random_world, walk_in_the_order_of_one_vector

from benchmarks.machine import ROOT, MeasurementContext
from benchmarks.markdown import table
from benchmarks.timing import print_progress, round_figure
from multitudes.atomic import write_text

RESULTS = ROOT / "benchmarks" / "results" / "index-worlds.json"
_WORLDS = 200


def measure(worlds: int) -> dict[str, Any]:
    """Return what the searches of ``worlds`` worlds find, whose seeds are 0, 1, …"""
    circumstances, progress = MeasurementContext(), print_progress("worlds")
    found, control = list[list[Found]](), list[list[Found]]()
    for seed in range(worlds):
        progress(seed, worlds)
        index, world, asked = random_world(seed)
        if index.has_mixture:  # else the build fell back to a search for each vector
            found.append(compare(index, world, asked))
            with walk_in_the_order_of_one_vector():
                control.append(compare(index, world, asked))
    return {
        "settings": {"worlds": worlds},
        **circumstances.head(),
        "seeds": {"first": 0, "last": worlds - 1},
        "figures": {
            "worlds": len(found),
            "fell_back": worlds - len(found),
            "users": sum(map(len, found)),
            "one_search": _summary(found),
            "control": _summary(control),
        },
    }


def _summary(found: Sequence[Sequence[Found]]) -> dict[str, float]:
    """Return the number of short lists, and the overlap of all users, of the worst world and of the worst user."""
    overlaps = [[one.overlap for one in own] for own in found]
    return {
        "short": sum(one.is_short for own in found for one in own),
        "mean": round_figure(float(np.mean([mean for own in overlaps for mean in own]))),
        "least_world": round_figure(min(float(np.mean(own)) for own in overlaps)),
        "least_user": round_figure(min(min(own) for own in overlaps)),
    }


def section(records: Sequence[dict[str, Any]]) -> list[str]:
    """Return the section of docs/index-figures.md; no lines without records."""
    lines = []
    for record in records:
        figures = record["figures"]
        rows = [
            [
                name,
                f"{figures[way]['short']:,}",
                *(f"{figures[way][one]:.3f}" for one in ("mean", "least_world", "least_user")),
            ]
            for name, way in (("one search", "one_search"), ("control: the order of the first vector", "control"))
        ]
        lines += [
            "## Random worlds against brute force",
            "",
            f"{figures['worlds']:,} small worlds with {figures['users']:,} users: random items, dimensions, lists,"
            " topics, vectors and exclusions; items added, replaced and removed after the build. Inverted lists, tuned"
            f" to an overlap of 0.95; {figures['fell_back']:,} further builds fell back to a search for each vector."
            " The exact list is that of all probabilities in float64. In the control, as many pairs are read in the"
            " order of a user's first vector alone. Measured by `python -m benchmarks.index.worlds`"
            f" ({record['when'][:10]}, commit {record['versions'].get('commit')}, seeds {record['seeds']['first']} to"
            f" {record['seeds']['last']}).",
            "",
            *table(["walk", "short lists", "mean overlap", "least world", "least user"], rows),
        ]
    return lines


def main() -> None:
    """Measure and keep the record."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.index.worlds", description="Compare with brute force.")
    parser.add_argument("--worlds", type=int, default=_WORLDS, help="number of worlds")
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    write_text(given.out, json.dumps([measure(given.worlds)], indent=1, allow_nan=False) + "\n")


if __name__ == "__main__":
    main()
