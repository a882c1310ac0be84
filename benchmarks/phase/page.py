"""``python -m benchmarks.phase.page [STUDY]``: docs/phase.md with its picture, and records/phase.md, from kept results.

``STUDY`` is the folder or the summary.json of a study that has the row `calibrated`: its data sets are the real ones.
"""

import argparse
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from reference.markdown import replace_table

from benchmarks.machine import ROOT
from benchmarks.markdown import format_number, table
from benchmarks.phase.__main__ import RESULTS
from benchmarks.phase.cell import ONE, OPTIMUM, POOL, RANDOM, SEVERAL
from benchmarks.phase.picture import GAIN, RealSet, bounds, draw

BEGIN = "<!-- phase: written by `python -m benchmarks.phase.page` -->"
PAGE = ROOT / "docs" / "phase.md"
PICTURE = "images/phase.svg"
RECORD = ROOT / "records" / "phase.md"
STUDY = ROOT / "benchmarks" / "results" / "coverage"
_BESIDE = {
    ONE: "one vector, fitted to the history",
    OPTIMUM: "one vector, fitted to all that the user wants",
    RANDOM: "random parts of the history",
}
_HEAD = """# When several vectors pay: every planted world

Written by `python -m benchmarks.phase.page` from `benchmarks/results/phase.json`;
[docs/phase.md](../docs/phase.md) says what it means. All lists have 100 places and are calibrated. {cells} worlds of
{users} users, seeds {seeds}; 95 % intervals over the users, paired; \\*: zero is outside.
{when}, commit {commit}: {minutes} minutes of one core, {cpu}, NumPy {numpy}.
"""


def real_sets(study: Path) -> list[RealSet]:
    """Return the data sets of a study.

    Raises:
        SystemExit: the study has no summary, or no method with the control `calibrated`.
    """
    file = study / "summary.json" if study.is_dir() else study
    if not file.exists():
        raise SystemExit(f"{file} does not exist; expected the folder or the summary.json of a study")
    summary = json.loads(file.read_text(encoding="utf-8"))
    found = []
    for name, of in summary.get("data", {}).items():
        for method, health in summary["health"].get(name, {}).items():
            depth, beyond = health.get("depth_at_coverage"), of["systems"].get(f"{method}/calibrated")
            if depth and beyond:
                found.append(RealSet(name, depth / (6 * of["budget"]), beyond["served"], beyond["hr"]))
                break
    if not found:
        raise SystemExit(
            f"{file} has no method with depth_at_coverage and the row 'calibrated'; evaluate one such as joint"
        )
    return found


def update_page(page: str, results: Mapping[str, Any], sets: Sequence[RealSet]) -> str:
    """Return docs/phase.md with the picture and the real sets between its marks."""
    return replace_table(BEGIN, "\n".join(_lines(results, sets)).strip(), page)


def record(results: Mapping[str, Any]) -> str:
    """Return records/phase.md: every planted world."""
    cells, head = results["cells"], results["run"]["head"]
    minutes = sum(cell["cpu_s"] for cell in cells.values()) / 60
    users = next(iter(cells.values()))["users"]
    first = _HEAD.format(
        users=users,
        seeds=", ".join(map(str, head["seeds"])),
        cells=len(cells),
        minutes=f"{minutes:.0f}",
        cpu=head["machine"]["cpu"],
        numpy=head["versions"]["numpy"],
        when=head["when"],
        commit=head["versions"]["commit"],
    )
    lines = [
        first,
        "## Depth at coverage",
        "",
        "Rank in the order of one vector: fitted to the history / to all that the user wants.",
        "",
    ]
    lines += _by_corpus(cells, lambda cell: " / ".join(format_number(cell["depth"][arm]) for arm in (ONE, OPTIMUM)))
    for arm, name in _BESIDE.items():
        lines += [f"## Interests served: several vectors − {name}", ""]
        lines += _by_corpus(cells, partial(_served_gain, arm))
    lines += [
        "## Recall",
        "",
        "One vector, fitted to the history → several (random parts); \\*: of the first difference.",
        "",
    ]
    return "\n".join([*lines, *_by_corpus(cells, _recall)])


def _lines(results: Mapping[str, Any], sets: Sequence[RealSet]) -> Iterator[str]:
    at = bounds(results["cells"])
    yield f"![Interests served by several vectors beyond one, over depth at coverage]({PICTURE})"
    yield ""
    yield (
        f"*In no planted world several vectors bring {_number(GAIN)} below a depth of {_share(at.cannot)} of the {POOL}"
        f" proposals; in each they do above {_share(at.must)}. Black: real sets, with their intervals; dashed: the last"
        " proposal.*"
    )
    yield ""
    yield from table(
        ["real set", "depth ÷ 6 N", "served, joint − one vector", "hit rate"],
        ([one.name, _share(one.depth), _gain(one.served), _gain(one.hits)] for one in sets),
    )


def _by_corpus(cells: Mapping[str, Any], text: Callable[[Mapping[str, Any]], str]) -> list[str]:
    rows: dict[str, list[str]] = {}
    corpora = dict.fromkeys(f"{cell['setting']['items']:,} items" for cell in cells.values())
    for name, cell in cells.items():
        rows.setdefault(name.partition(" × ")[2], []).append(text(cell))
    return table(["width, tastes", *corpora], ([name, *values] for name, values in rows.items()))


def _served_gain(arm: str, cell: Mapping[str, Any]) -> str:
    return _gain(cell["served gain"][f"{SEVERAL} − {arm}"])


def _recall(cell: Mapping[str, Any]) -> str:
    recall, gain = cell["recall"], cell["recall gain"][f"{SEVERAL} − {ONE}"]
    return f"{_number(recall[ONE])} → {_number(recall[SEVERAL])}{_mark(gain)} ({_number(recall[RANDOM])})"


def _gain(gain: Mapping[str, float]) -> str:
    sign = "+" if round(gain["mean"], 3) > 0 else ""
    return f"{sign}{_number(gain['mean'])} [{_number(gain['low'])}, {_number(gain['high'])}]{_mark(gain)}"


def _mark(gain: Mapping[str, float]) -> str:
    return " \\*" if gain["low"] > 0 or gain["high"] < 0 else ""


def _number(value: float) -> str:
    """Return three decimals without the zero before the point."""
    text = f"{abs(value):.3f}"
    return ("−" if value < 0 and float(text) else "") + text.removeprefix("0")


def _share(value: float) -> str:
    return f"{value:.1%}" if value < 0.1 else f"{value:.0%}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the picture and both pages."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.phase.page", description="Draw docs/phase.md.")
    parser.add_argument("study", type=Path, nargs="?", default=STUDY, help="folder or summary.json of a study")
    parser.add_argument("--results", type=Path, default=RESULTS, help="what `python -m benchmarks.phase` wrote")
    parser.add_argument("--out", type=Path, default=PAGE, help="page with the marks; the picture goes beside it")
    parser.add_argument("--record", type=Path, default=RECORD, help="page of the tables")
    given = parser.parse_args(arguments)
    if not given.results.exists():
        parser.error(f"{given.results} does not exist; measure with: python -m benchmarks.phase")
    results, sets = json.loads(given.results.read_text(encoding="utf-8")), real_sets(given.study)
    picture = given.out.parent / PICTURE
    picture.parent.mkdir(parents=True, exist_ok=True)
    draw(results["cells"], sets, picture)
    given.out.write_text(update_page(given.out.read_text(encoding="utf-8"), results, sets), encoding="utf-8")
    given.record.write_text(record(results), encoding="utf-8")
    print(given.out, given.record)


if __name__ == "__main__":
    main()
