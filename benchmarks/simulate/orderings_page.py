"""``python -m benchmarks.simulate.orderings_page``: what simulated experiments showed, from their record.

docs/paper-online.md has what a reader asks for first, records/paper-online.md the same of every world.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.machine import ROOT
from benchmarks.markdown import table
from benchmarks.simulate.orderings import CLAIMS, DEFAULT, RESULTS, Claim
from multitudes.atomic import write_text

PAGE, RECORD = ROOT / "docs" / "paper-online.md", ROOT / "records" / "paper-online.md"
_WORDS = Path(__file__).with_name("words.md")
_HEAD = """# The paper's online test, in a simulated world

Written by `python -m benchmarks.simulate.orderings_page` from `benchmarks/results/orderings.json`, whose record
`python -m benchmarks.simulate.orderings` writes; do not edit.

"""
_RECORD_HEAD = """# Arms of the simulated experiments, world by world

Written by `python -m benchmarks.simulate.orderings_page` from `benchmarks/results/orderings.json`;
[docs/paper-online.md](../docs/paper-online.md) says what it means. In percent of the control, with an interval of 95 %.

"""
_EVERYBODY = "everybody"


def page(record: Mapping[str, Any]) -> str:
    """Return the page."""
    return _HEAD + _WORDS.read_text(encoding="utf-8") + "\n" + "\n".join(_summary(record["worlds"])).rstrip() + "\n"


def record_page(record: Mapping[str, Any]) -> str:
    """Return the page of every world."""
    return _RECORD_HEAD + "\n".join(_details(record["worlds"])).rstrip() + "\n"


def _summary(worlds: Mapping[str, Any]) -> Iterator[str]:
    yield from ("## Today's list", "")
    yield "In percent of the control, whose number per user is given, with an interval of 95 %."
    yield ""
    for name, world in worlds.items():
        yield f"* *{name}*: {_sizes(world)}."
    yield ""
    shared = [arm for arm in _arms(worlds) if sum(arm in world["arms"] for world in worlds.values()) > 1]
    yield from _lifts("saves in the feed", "feed_saves", worlds, shared)
    yield "The other arms, and each arm against others, are in the record that [results](results.md) links."


def _details(worlds: Mapping[str, Any]) -> Iterator[str]:
    yield from _lifts("saves in the feed", "feed_saves", worlds, _arms(worlds))
    yield from _lifts("topics taken up", "adopted_topics", worlds, _arms(worlds))
    yield "Share of a user's true tastes, by weight, that a visit shows, in percent:"
    yield ""
    yield from table(
        ["tastes", *worlds], ([f"`{arm}`", *(_tastes(w, arm) for w in worlds.values())] for arm in _arms(worlds))
    )
    for name, world in worlds.items():
        yield from _claims(name, world)
    if DEFAULT in worlds:
        yield from _spread(worlds[DEFAULT])


def _arms(worlds: Mapping[str, Any]) -> list[str]:
    return list(dict.fromkeys(arm for world in worlds.values() for arm in world["arms"]))


def _lifts(title: str, metric: str, worlds: Mapping[str, Any], arms: Sequence[str]) -> Iterator[str]:
    rows = ([f"`{arm}`", *(_lift(world, arm, metric) for world in worlds.values())] for arm in arms)
    yield from table([title, *worlds], rows)


def _sizes(world: Mapping[str, Any]) -> str:
    n = len(world["seeds"])
    over = f"{n} worlds" if n > 1 else "one world, whose interval is over its users alone"
    return f"{over}, {world['users']:,} users, {world['items']:,} items, {world['days']} days"


def _lift(world: Mapping[str, Any], arm: str, metric: str) -> str:
    control = world["control"]
    if arm not in world["arms"]:
        return ""
    if arm == control:
        any_lift = next(iter(lifts for key, lifts in world["lifts"].items() if key.endswith(f" / {control}")), None)
        return "control" if any_lift is None else f"control: {any_lift[f'{metric}, {_EVERYBODY}']['control']:.2f}"
    return lift_text(world["lifts"][f"{arm} / {control}"][f"{metric}, {_EVERYBODY}"])


def _tastes(world: Mapping[str, Any], arm: str) -> str:
    return _percent(world["spread"]["tastes"][arm]) if arm in world["arms"] else ""


def _claims(name: str, world: Mapping[str, Any]) -> Iterator[str]:
    known = [claim for claim in CLAIMS if _key(claim) in world["lifts"]]
    if known:
        yield from (f"## One arm against another: {name}", "")
        head = ["", "the paper", "saves in the feed", "core", "non-core", "adopted topics", "came back"]
        yield from table(head, (_row(claim, world["lifts"][_key(claim)]) for claim in known))


def _row(claim: Claim, found: Mapping[str, Any]) -> list[str]:
    cells = [lift_text(found[f"feed_saves, {cohort}"]) for cohort in (_EVERYBODY, "core", "non-core")]
    adopted = lift_text(found[f"adopted_topics, {_EVERYBODY}"])
    return [claim.said, claim.paper, *cells, adopted, came_back(claim, found[f"feed_saves, {_EVERYBODY}"])]


def came_back(claim: Claim, one: Mapping[str, Any]) -> str:
    """Return whether the interval of the saves shows the expected sign."""
    if one["low"] is None or one["low"] <= 0 <= one["high"]:
        return "not shown"
    return "yes" if (one["low"] > 0) == claim.better else "**the other way round**"


def lift_text(one: Mapping[str, Any]) -> str:
    """Return a lift in percent with its interval."""
    if one["lift"] is None:
        return "–"
    if one["low"] is None:
        return f"{100 * one['lift']:+.1f}".replace("-", "−")
    lift, low, high = (f"{100 * one[key]:+.1f}" for key in ("lift", "low", "high"))
    return f"{lift} [{low}, {high}]".replace("-", "−")


def _spread(world: Mapping[str, Any]) -> Iterator[str]:
    yield from ("## What was shown", "", "In percent, in the default world (overlap: of the explicit candidates):", "")
    measures = [name for name in ("catalogue", "top 1 %", "overlap") if name in world["spread"]]
    rows = ([f"`{arm}`", *(_percent(world["spread"][name].get(arm)) for name in measures)] for arm in world["arms"])
    yield from table(["", *measures], rows)


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f}"


def _key(claim: Claim) -> str:
    return f"{claim.arm} / {claim.control}"


if __name__ == "__main__":
    kept = json.loads(RESULTS.read_text(encoding="utf-8"))
    write_text(PAGE, page(kept))
    write_text(RECORD, record_page(kept))
