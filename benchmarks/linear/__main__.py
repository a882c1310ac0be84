"""``python -m benchmarks.linear sets PREPARED…`` or ``worlds EVENTS…``: ``linear`` beside EASE and others.

``sets``: HR@100 on validation of the factors, of exact EASE cut to their rank, and of exact EASE, by λ and a.
``worlds`` plants a world of each size, and measures a fit of EASE and one of ELSA with given settings (``once``,
``elsa``), one that tries the grid (``grid``), and with ``--peers PYTHON``, a Python that has RecTools, its EASE and the
iALS of implicit. ``page`` writes the tables of docs/methods/linear.md, as the others do at their end.
"""

import argparse
from collections.abc import Callable, Mapping
from itertools import product
from pathlib import Path
from typing import Any

from reference.markdown import replace_table

from benchmarks import SEED
from benchmarks.linear.exact import measure_set
from benchmarks.linear.worlds import OWN, PEERS, measure_system
from benchmarks.machine import ROOT, MeasurementContext
from benchmarks.markdown import format_number, table
from benchmarks.records import read_records, save_record
from multitudes.atomic import write_text
from multitudes.data.prepared import PreparedData
from multitudes.linear.fit import GRID

RESULTS, PAGE = ROOT / "benchmarks" / "results" / "linear.json", ROOT / "docs" / "methods" / "linear.md"
BEGIN = "<!-- {}: written by `python -m benchmarks.linear` -->"
_NAMES = {
    "once": "linear, EASE, given settings",
    "elsa": "linear, ELSA, given settings",
    "grid": "linear, grid",
    "ials": "iALS, implicit",
    "ease": "EASE, RecTools",
}


def tables(records: Mapping[str, Any]) -> dict[str, str]:
    """Return the tables of the page, by their mark."""
    sets = []
    for name, record in records.get("sets", {}).items():
        ratios = [[trial["factors"] / trial[other] for trial in record["trials"]] for other in ("cut", "exact")]
        best = {key: max(trial[key] for trial in record["trials"]) for key in ("factors", "cut", "exact")}
        spans = [f"{min(ratio):.3f}–{max(ratio):.3f}" for ratio in ratios]
        rates = [f"{best[key]:.3f}"[1:] for key in best]
        sets.append([name, f"{record['items']:,}", str(len(record["trials"])), *spans, *rates])
    worlds = []
    for key, row in sorted(records.get("worlds", {}).items(), key=lambda one: int(one[0].split()[0])):
        events, name = key.split()
        costs = [format_number(row[cost]) if cost in row else "–" for cost in ("seconds", "cpu_s", "peak_mib")]
        rate = f"{row['hr']:.3f}"[1:] if "hr" in row else row["failed"]
        worlds.append([f"{int(events):,}", _NAMES[name], *costs, rate, str(row["load"]["before"])])
    of_sets = ["", "items", "settings", "÷ exact, cut", "÷ exact, full", "best", "best, cut", "best, full"]
    of_worlds = ["events", "", "seconds", "CPU s", "peak MiB", "HR@100", "load"]
    return {"sets": "\n".join(table(of_sets, sets)).strip(), "worlds": "\n".join(table(of_worlds, worlds)).strip()}


def update_page(page: str, records: Mapping[str, Any]) -> str:
    """Return the page with the tables of the records."""
    for mark, text in tables(records).items():
        page = replace_table(BEGIN.format(mark), text, page)
    return page


def main() -> None:
    """Measure, keep what was measured of other sets and systems, and write the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.linear", description=__doc__)
    parser.add_argument("part", choices=("sets", "worlds", "page"))
    parser.add_argument("names", nargs="*", help="prepared folders, or numbers of events")
    parser.add_argument("--grid", type=float, nargs="+", default=GRID, help="of sets: the values of λ")
    parser.add_argument("--systems", nargs="+", choices=OWN + PEERS, default=OWN, help="of worlds")
    parser.add_argument("--work", type=Path, default=Path("linear-work"), help="of worlds: folder to keep them")
    parser.add_argument("--peers", metavar="PYTHON", help="of worlds: that of an environment with RecTools 0.19.0")
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    if given.part == "sets":
        for folder in given.names:
            _keep(given.out, "sets", Path(folder).name, measure_set, PreparedData.open(folder), given.grid)
    elif given.part == "worlds":
        given.work.mkdir(parents=True, exist_ok=True)
        for events, name in product(given.names, given.systems):
            _keep(given.out, "worlds", f"{events} {name}", measure_system, int(events), name, given.work, given.peers)
    write_text(PAGE, update_page(PAGE.read_text(encoding="utf-8"), read_records(given.out)))


def _keep(out: Path, part: str, name: str, measure: Callable[..., dict[str, Any]], *arguments: object) -> None:
    """Measure, and put the record in the place of an earlier one of the same name."""
    context = MeasurementContext()
    figures = measure(*arguments)
    save_record(out, part, name, context.head(("multitudes", "numpy", "scipy")) | {"seed": SEED} | figures)


if __name__ == "__main__":
    main()
