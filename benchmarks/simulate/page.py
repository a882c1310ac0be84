"""``python -m benchmarks.simulate.page records/simulated-world.md``: the kept figures, written into the page.

So are those beside SARDINE, which ``python -m benchmarks.simulate.sardine`` measures in an environment of its own.
"""

import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from reference.markdown import replace_table

from benchmarks.machine import ROOT
from benchmarks.markdown import format_number, table
from benchmarks.simulate.picture import draw
from benchmarks.simulate.sets import WORLD

BEGIN = "<!-- world: written by `python -m benchmarks.simulate.page records/simulated-world.md` -->"
BEGIN_SARDINE = "<!-- sardine: written by `python -m benchmarks.simulate.page records/simulated-world.md` -->"
RESULTS = ROOT / "benchmarks" / "results" / "simulate.json"
SARDINE = RESULTS.with_name("sardine.json")
PICTURE = "images/world-marginals.svg"

_SPREAD = {
    "p10": "a tenth has at most",
    "p50": "median",
    "p90": "a tenth has at least",
    "p99": "a hundredth has at least",
}
_SARDINE_HEADS = {
    "positions": "random lists, by place; the first place: 1",
    "repeats": "what is wanted most, list after list; the first: 1",
}


def update_page(page: str, results: Mapping[str, Any], sardine: Mapping[str, Any]) -> str:
    """Return a page with the figures, and those beside SARDINE, between their markers."""
    page = replace_table(BEGIN, "\n".join(figures(results)).strip(), page)
    return replace_table(BEGIN_SARDINE, "\n".join(_sardine(sardine["figures"])).strip(), page)


def figures(results: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines."""
    sets = results["marginals"]["figures"]["sets"]
    yield f"![The marginals of the world beside those of public data sets]({PICTURE})"
    yield ""
    public = {name: found for name, found in sets.items() if name != WORLD}
    rows = [compare(said, path, sets[WORLD], public) for said, path in lines()]
    head = ["", WORLD, f"{len(public)} public set{'s' if len(public) > 1 else ''}, lowest to highest", "within"]
    yield from table(head, (row for row in rows if row))
    worlds = results["prize"]["figures"]["worlds"]
    yield "Saves of a list of 30, by lists that know the tastes and by two that do not, if everybody came:"
    yield ""
    names = list(next(iter(worlds.values())))
    yield from table(
        ["", *names], ([world, *(f"{found[name]:.2f}" for name in names)] for world, found in worlds.items())
    )
    yield _speed(results["speed"])
    if "retrieval" in results:
        yield ""
        yield _retrieval(results["retrieval"])


def lines() -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield the compared figures, and their paths in a record."""
    for said, path in (
        ("events of a user", ("history",)),
        ("topics among ten events of a user", ("topics",)),
        ("days with an event, of 30", ("days", "active_in_30")),
        ("events on such a day", ("days", "events_a_day")),
    ):
        yield from ((f"{said}: {how}", (*path, quantile)) for quantile, how in _SPREAD.items())
    yield "events on the most popular hundredth of the items", ("popularity", "0.01")
    yield "events on the most popular tenth of the items", ("popularity", "0.1")
    yield "Gini's coefficient of items", ("popularity", "gini")
    yield "events that repeat one of the same user", ("repeat_share",)


def compare(said: str, path: tuple[str, ...], world: Mapping[str, Any], public: Mapping[str, Any]) -> list[str] | None:
    """Return a row of the table; None if no public set has the figure."""
    own, others = at(world, path), [value for found in public.values() if (value := at(found, path)) is not None]
    if own is None or not others:
        return None
    low, high = min(others), max(others)
    where = "yes" if low <= own <= high else "**below**" if own < low else "**above**"
    return [said, format_number(own), f"{format_number(low)} – {format_number(high)}", where]


def at(found: Any, path: tuple[str, ...]) -> float | None:  # noqa: ANN401 (JSON of any shape)
    """Return the figure at ``path``; None if there is none."""
    for key in path:
        found = found and found[key]
    return found if found is None else float(found)


def _speed(part: Mapping[str, Any]) -> str:
    found, sizes = part["figures"], part["figures"]["settings"]
    return (
        f"{sizes['users']:,} users and {sizes['items']:,} items, one core, without a model:"
        f" {format_number(found['impressions_per_s']['median'])} impressions and"
        f" {format_number(found['user_days_per_s']['median'])} users × days in a second of processor time."
        f" So {sizes['days']} days with {format_number(found['impressions'])} impressions"
        f" take {format_number(found['all_days_s'])} s, and"
        f" {format_number(found['made_s'])} s to make the world; {format_number(found['peak_mib'])} MiB at most."
        f" On {part['machine']['cpu']}."
    )


def _retrieval(part: Mapping[str, Any]) -> str:
    found, sizes = part["figures"], part["figures"]["settings"]
    arms = (f"{arm} {format_number(one['users_per_s']['cpu']['median'])}" for arm, one in found["arms"].items())
    return (
        f"With a model, visitors in a second of processor time on one core, {sizes['candidates']} candidates of"
        f" {sizes['items']:,} items for each, through the retriever of the service: {', '.join(arms)}. On"
        f" {part['machine']['cpu']}, where {part['load']['before']:.0f} to {part['load']['after']:.0f} processes wanted"
        f" one of {part['machine']['cores']} cores."
    )


def _sardine(found: Mapping[str, Any]) -> Iterator[str]:
    for name, head in _SARDINE_HEADS.items():
        numbers = [str(1 + number) for number in range(len(found[name]["SARDINE"]))]
        yield from table([head, *numbers], ([who, *_two_digits(shares)] for who, shares in found[name].items()))
    orders = ([who, *_two_digits(shares.values())] for who, shares in found["orders"].items())
    yield from table(["ten items; by chance: 1", *found["orders"]["SARDINE"]], orders)


def _two_digits(shares: Iterable[float]) -> Iterator[str]:
    return (f"{share:.2f}" for share in shares)


if __name__ == "__main__":
    file = Path(sys.argv[1])
    kept, sardine = (json.loads(record.read_text(encoding="utf-8")) for record in (RESULTS, SARDINE))
    file.write_text(update_page(file.read_text(encoding="utf-8"), kept, sardine), encoding="utf-8")
    draw(kept["marginals"]["figures"]["sets"], file.parent / PICTURE)
