"""``python -m benchmarks.quality_page``: docs/results.md, written from the JSON of ``benchmarks.quality`` alone."""

import argparse
import json
from collections.abc import Iterable
from pathlib import Path
from statistics import mean
from typing import Any

from benchmarks.machine import ROOT
from benchmarks.quality import METHODS, REMEDIES, SETS

RESULTS = ROOT / "benchmarks" / "results"
BASELINES = ("popularity", "recent_popularity", "followed_topics")
CONTROLS = ("unconditioned", "implicit", "explicit", "averaged", "random_partition", "round_robin", "global_top")

_HEAD = """# Results on real sets

Written by `python -m benchmarks.quality_page` from `{test}` and `{validation}`; do not edit. The figures come
from

    python -m benchmarks.quality DATA --work WORK
    python -m benchmarks.quality DATA --work WORK --split validation --variants joint {remedies} \\
        --sets {remedy_sets} --seeds {remedy_seeds}

where DATA holds one folder of canonical tables per set. {machine}. {versions}.

How to read: HR@N is the share of first-time targets among N candidates, pooled over users; **every system returns N
candidates in all**, however many vectors it has. Figures are means over the seeds that each set names (in brackets the
lowest and the highest seed). Differences are paired user by user, each user's outcome being the mean over seeds, with
95 % bootstrap intervals over users; **they do not cover what another seed would change**: compare with the spread over
seeds. A star marks an interval that excludes zero. Settings are the defaults for all sets but those named below:
nothing was tuned on these test splits.
"""


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality_page", description=__doc__)
    parser.add_argument("--test", type=Path, default=RESULTS / "quality-test.json")
    parser.add_argument("--validation", type=Path, default=RESULTS / "quality-validation.json")
    parser.add_argument("--words", type=Path, default=RESULTS / "words.md", help="what the figures say")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "results.md")
    given = parser.parse_args()
    test, validation = (json.loads(file.read_text(encoding="utf-8")) for file in (given.test, given.validation))
    given.out.write_text(page(test, validation, given.words.read_text(encoding="utf-8")), encoding="utf-8")


def page(test: dict[str, Any], validation: dict[str, Any], words: str) -> str:
    """Return the page."""
    machine = test["machine"]
    head = _HEAD.format(
        test="benchmarks/results/quality-test.json",
        validation="benchmarks/results/quality-validation.json",
        remedies=" ".join(v for v in _variants(validation) if v != "joint"),
        remedy_sets=" ".join(validation["sets"]),
        remedy_seeds=" ".join(map(str, validation["seeds"])),
        machine=f"Measured on {machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB",
        versions=", ".join(f"{name} {version}" for name, version in test["versions"].items() if version),
    )
    return "\n".join([head, words, *_test_sections(test), *_remedies(validation)])


def _variants(record: dict[str, Any]) -> list[str]:
    return list(next(iter(record["sets"].values()))["results"])


def _test_sections(record: dict[str, Any]) -> Iterable[str]:
    for name, data in record["sets"].items():
        yield f"## {name}\n\n{_about(name, data)}\n\n{_methods(data)}\n\n{_controls(data)}\n\n{_segments(data)}\n"
        if data["results"]["joint"][0]["all_targets"]:
            yield f"{_all_targets(data)}\n"


def _about(name: str, data: dict[str, Any]) -> str:
    facts, settings = data["data"], SETS[name]
    own = f" Settings of this set: `[train]` {settings.train}." if settings.train else ""
    return (
        f"{facts['users']:,} users, {facts['items']:,} items, split {facts['split']!r};"
        f" {facts['asked_users']:,} users with {facts['targets']:,} first-time targets were asked.{own}"
        f" Seeds: {', '.join(map(str, data['seeds']))}."
    )


def _methods(data: dict[str, Any]) -> str:
    """Return the table of methods and baselines."""
    budgets = [key for key in next(iter(data["results"]["joint"]))["methods"]["joint"] if key.startswith("hr@")]
    rows = [
        [
            f"**{name}**",
            *(_over_seeds(runs, name, key) for key in budgets),
            _cell(runs, name, "ndcg@100"),
            _cell(runs, name, "topics@100"),
            _difference(data["joint_minus"].get(name, {}).get("new", {}).get("hr@100")),
        ]
        for name, runs in data["results"].items()
    ]
    joint = data["results"]["joint"]
    rows += [
        [
            name,
            *(_cell(joint, name, key) for key in budgets),
            _cell(joint, name, "ndcg@100"),
            _cell(joint, name, "topics@100"),
            _mean_difference(joint, name),
        ]
        for name in BASELINES
        if name in joint[0]["methods"]
    ]
    return _table(
        ["", *(key.upper() for key in budgets), "NDCG@100", "topics among hits", "joint minus it, HR@100"], rows
    )


def _controls(data: dict[str, Any]) -> str:
    joint = data["results"]["joint"]
    shares = [run["shares"] for run in joint]
    fitted = ", ".join(
        f"{kind} {mean(s[kind] for s in shares):.2f}" for kind in ("unconditioned", "implicit", "explicit")
    )
    rows = [
        [
            name,
            _cell(joint, name, "hr@100"),
            _cell(joint, name, "topics@100"),
            _cell(joint, name, "tail_share@100"),
            _mean_difference(joint, name),
        ]
        for name in ("joint", *CONTROLS)
        if name in joint[0]["methods"]
    ]
    head = ["the joint run asked as", "HR@100", "topics among hits", "tail share of hits", "joint minus it, HR@100"]
    return f"Shares fitted on validation: {fitted}.\n\n{_table(head, rows)}"


def _segments(data: dict[str, Any]) -> str:
    joint, single = (data["results"][name][0]["segments"] for name in ("joint", "single"))
    rows = []
    for group, parts in joint.items():
        for part, figures in parts.items():
            own, other = (_segment(figures, "joint"), _segment(single.get(group, {}).get(part, {}), "single"))
            rows.append([f"{group}: {part}", own, other])
    return f"By segment, seed {0}:\n\n{_table(['segment', 'joint HR@100', 'single HR@100'], rows)}" if rows else ""


def _segment(figures: dict[str, Any], method: str) -> str:
    found = figures.get("methods", figures).get(method) if figures else None
    estimate = found.get("hr@100", found) if found else None
    return _estimate(estimate)


def _all_targets(data: dict[str, Any]) -> str:
    rows = [
        [name, _figure([run["all_targets"][name]["hr@100"]["mean"] for run in runs])]
        for name, runs in data["results"].items()
    ]
    joint = data["results"]["joint"]
    rows += [
        [name, _figure([run["all_targets"][name]["hr@100"]["mean"] for run in joint])]
        for name in ("own_history", *BASELINES)
        if name in joint[0]["all_targets"]
    ]
    return f"All targets, repeats too (nothing excluded):\n\n{_table(['', 'HR@100'], rows)}"


def _remedies(record: dict[str, Any]) -> Iterable[str]:
    yield (
        "## What was tried, on validation\n\n"
        f"Seeds {', '.join(map(str, record['seeds']))}. Each variant differs from joint's defaults in one thing, but"
        " `paper`, which is the design of the paper."
    )
    for name, data in record["sets"].items():
        rows = [
            [
                variant,
                (METHODS | REMEDIES)[variant].why,
                _over_seeds(runs, _method(variant), "hr@100"),
                _difference(data["joint_minus"].get(variant, {}).get("new", {}).get("hr@100")),
            ]
            for variant, runs in data["results"].items()
        ]
        yield f"\n### {name}\n\n{_table(['variant', 'what differs', 'HR@100', 'joint minus it'], rows)}\n"


def _method(variant: str) -> str:
    return (METHODS | REMEDIES)[variant].method


def _over_seeds(runs: list[dict[str, Any]], method: str, key: str) -> str:
    return _figure([run["methods"][method][key]["mean"] for run in runs], spread=True)


def _cell(runs: list[dict[str, Any]], method: str, key: str) -> str:
    return _figure([found["mean"] for run in runs if (found := run["methods"].get(method, {}).get(key))])


def _figure(values: list[float], spread: bool = False) -> str:
    if not values:
        return "–"
    text = f"{mean(values):.4f}" if mean(values) < 1 else f"{mean(values):.2f}"
    return f"{text} ({min(values):.4f}–{max(values):.4f})" if spread and len(values) > 1 else text


def _mean_difference(runs: list[dict[str, Any]], name: str) -> str:
    """Return the mean of the seeds' own differences; the interval is that of the first seed, and says so."""
    found = [run["differences"][name]["hr@100"] for run in runs if "hr@100" in run["differences"].get(name, {})]
    if not found:
        return "–"
    each = ", ".join(f"{d['mean']:+.4f}{_star(d)}" for d in found)
    return f"{mean(d['mean'] for d in found):+.4f} (seeds {each})"


def _difference(found: dict[str, float] | None) -> str:
    return f"{found['mean']:+.4f} [{found['low']:+.4f}, {found['high']:+.4f}]{_star(found)}" if found else "–"


def _star(found: dict[str, float]) -> str:
    return " *" if found["low"] > 0 or found["high"] < 0 else ""


def _estimate(found: dict[str, float] | None) -> str:
    return (
        f"{found['mean']:.3f} [{found['low']:.3f}, {found['high']:.3f}]"
        if found and found.get("mean") is not None
        else "–"
    )


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *rows]]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
