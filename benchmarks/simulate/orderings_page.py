"""``python -m benchmarks.simulate.orderings_page records/simulated-world.md`` writes the record into the page."""

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.markdown import table
from benchmarks.simulate.orderings import CLAIMS, RESULTS, Claim
from multitudes.service.docs_tables import replace_table

BEGIN = "<!-- orderings: written by `python -m benchmarks.simulate.orderings_page records/simulated-world.md` -->"


def written_into(page: str, record: Mapping[str, Any]) -> str:
    """Return a page with the tables between their markers."""
    return replace_table(BEGIN, "\n".join(tables(record)).strip(), page)


def tables(record: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines."""
    world = record["worlds"]["the world"]
    yield (
        f"{len(world['seeds'])} worlds of {world['users']:,} users and {world['items']:,} items, {world['days']} days;"
        " percent, with 95 % over the worlds."
    )
    yield ""
    known = [claim for claim in CLAIMS if _key(claim) in world["lifts"]]
    head = ["", "the paper", "saves in the feed", "core", "non-core", "adopted topics", "came back"]
    yield from table(head, (_row(claim, world["lifts"][_key(claim)]) for claim in known))
    for name, other in record["worlds"].items():
        if name != "the world":
            yield from _control(name, other)
    yield from _spread(world)


def _row(claim: Claim, found: Mapping[str, Any]) -> list[str]:
    cells = [said(found[f"feed_saves, {cohort}"]) for cohort in ("everybody", "core", "non-core")]
    adopted = said(found["adopted_topics, everybody"])
    return [claim.said, claim.paper, *cells, adopted, came_back(claim, found["feed_saves, everybody"])]


def came_back(claim: Claim, one: Mapping[str, Any]) -> str:
    """Return whether the interval of the saves shows the expected sign."""
    if one["low"] is None or one["low"] <= 0 <= one["high"]:
        return "not shown"
    return "yes" if (one["low"] > 0) == claim.better else "**the other way round**"


def said(one: Mapping[str, Any]) -> str:
    """Return a lift in percent with its interval."""
    if one["lift"] is None:
        return "–"
    lift, low, high = (f"{100 * one[key]:+.1f}" for key in ("lift", "low", "high"))
    return f"{lift} [{low}, {high}]".replace("-", "−")


def _control(name: str, world: Mapping[str, Any]) -> Iterator[str]:
    yield f"The control world, *{name}* ({len(world['seeds'])} worlds):"
    yield ""
    known = [claim for claim in CLAIMS if _key(claim) in world["lifts"]]
    rows = ([claim.said, *_row(claim, world["lifts"][_key(claim)])[2:-1]] for claim in known)
    yield from table(["", "saves in the feed", "core", "non-core", "adopted topics"], rows)


def _spread(world: Mapping[str, Any]) -> Iterator[str]:
    yield "What was shown, in percent (overlap: of the explicit candidates):"
    yield ""
    arms = world["arms"]
    measures = [name for name in ("tastes", "catalogue", "top 1 %", "overlap") if name in world["spread"]]
    rows = ([arm, *(_percent(world["spread"][name].get(arm)) for name in measures)] for arm in arms)
    yield from table(["", *measures], rows)


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f}"


def _key(claim: Claim) -> str:
    return f"{claim.arm} / {claim.control}"


def main() -> None:
    """Write the tables into the page."""
    page = Path(sys.argv[1])
    record = json.loads(RESULTS.read_text(encoding="utf-8"))
    page.write_text(written_into(page.read_text(encoding="utf-8"), record), encoding="utf-8")


if __name__ == "__main__":
    main()
