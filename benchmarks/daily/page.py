"""``python -m benchmarks.daily.page docs/daily.md``: what daily training finds and costs, as a table."""

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from reference.markdown import replace_table

from benchmarks.machine import ROOT
from benchmarks.markdown import format_number, table

MARK = "<!-- daily: written by `python -m benchmarks.daily.page docs/daily.md` -->"
RESULTS = ROOT / "benchmarks" / "results" / "daily.json"
_DIFFERENCES = ("continued - anew", "left - anew", "continued - left", "continued - weights")


def section(results: Mapping[str, Any]) -> Iterator[str]:
    """Yield the tables of all data."""
    head = ["data", "N", "users with a new item", "days × length", "anew", "continued", "its weights alone", "left"]
    yield from table(head, [_rates(name, found) for name, found in results["daily"].items()])
    head = ["data", *_DIFFERENCES, "CPU s: anew", "continued", "share"]
    yield from table(head, [_gains(name, found) for name, found in results["daily"].items()])
    runs = "; ".join(
        f"{name}: {found['seeds']} seeds, {found['epochs_anew']} epochs anew at a learning rate of"
        f" {found['learning_rate']:g}, {found['when']}"
        for name, found in results["daily"].items()
    )
    yield f"Runs: {runs}."


def _rates(name: str, found: Mapping[str, Any]) -> list[str]:
    users = found["differences"]["continued - anew"]["users"]
    rates = [f"{found['all'][arm]:.4f}" for arm in ("anew", "continued", "weights", "left")]
    return [
        name,
        str(found["budget"]),
        f"{users:,} of {found['users']:,}",
        f"{found['days']} × {found['length_days']:g} days",
        *rates,
    ]


def _gains(name: str, found: Mapping[str, Any]) -> list[str]:
    gains = [_gain(found["differences"][pair]) for pair in _DIFFERENCES]
    spent = [format_number(found["cpu_s"][arm]) for arm in ("anew", "continued")]
    return [name, *gains, *spent, f"{found['cost_of_continued']:.1%}"]


def _gain(found: Mapping[str, float]) -> str:
    return f"{found['mean']:+.4f} ({found['low']:+.4f} to {found['high']:+.4f})"


def main() -> None:
    """Write the tables between their marks."""
    page = Path(sys.argv[1])
    text = "\n".join(section(json.loads(RESULTS.read_text(encoding="utf-8")))).strip()
    page.write_text(replace_table(MARK, text, page.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
