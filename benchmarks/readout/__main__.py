"""``python -m benchmarks.readout [--quick] [--out FILE] [part …]``."""

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks import SEED
from benchmarks.machine import ROOT, load_average, machine, versions
from benchmarks.readout import errors, interleaving, scale
from multitudes.atomic import write_text


def _rates(found: dict[str, errors.Rate]) -> dict[str, Any]:
    return {name: rate.record() for name, rate in found.items()}


def _scale(sizes: scale.Sizes) -> dict[str, Any]:
    with TemporaryDirectory(prefix="multitudes-bench-") as folder:
        return scale.measure(sizes, Path(folder))


def parts(quick: bool) -> dict[str, Callable[[], Any]]:
    """Return the measurements by name; each is one claim of docs/online.md, with its control."""
    n = 50 if quick else 1_000
    users = 500 if quick else 2_000
    return {
        "false positives": lambda: _rates(errors.false_positives(n, users, SEED)),
        "coverage": lambda: {
            f"{users} users an arm": _rates(errors.coverage(n, users, SEED, 0.1)),
            "200 users an arm": _rates(errors.coverage(n, 200, SEED, 0.1)),
            "200 users an arm, a tenth active": _rates(errors.coverage(n, 200, SEED, 0.1, active=0.1)),
        },
        "peeking": lambda: {
            "users come one by one, 196 looks": _rates(errors.peeking(n, 20_000, SEED)),
            "28 days, users differ": _rates(errors.peeking_daily(n, 2_000, SEED, 28, alike=False)),
            "28 days, users alike": _rates(errors.peeking_daily(n, 2_000, SEED, 28, alike=True)),
        },
        "cuped": lambda: errors.cuped(20 * users, SEED, (0.0, 0.3, 0.6, 0.9)),
        "sample ratio": lambda: {
            "50/50": errors.ratios(n, 1_000_000, SEED, 0.5).record(),
            "50.5/49.5": errors.ratios(n, 1_000_000, SEED, 0.505).record(),
        },
        "power": lambda: errors.power(n, SEED, 0.15),
        "radius": lambda: errors.radii((100, 1_000, 10_000, 100_000, 1_000_000)),
        "interleaving": lambda: interleaving.measure(n, 300, SEED, many=40 * users),
        "scale": lambda: _scale(scale.QUICK if quick else scale.FULL),
    }


def main() -> None:
    """Run the named measurements, all by default; write each result as soon as it is known."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.readout", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="part", help=f"of: {', '.join(parts(True))}; none: all")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "readout.json")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that everything runs")
    given = parser.parse_args()
    known = parts(given.quick)
    unknown = [name for name in given.names if name not in known]
    if unknown:
        parser.error(f"unknown part '{unknown[0]}'; known: {', '.join(known)}")
    for name in given.names or known:
        began, load_before = time.time(), load_average()
        figures = known[name]()
        kept = json.loads(given.out.read_text(encoding="utf-8")) if given.out.exists() else {}
        kept[name] = {
            "quick": given.quick,
            "when": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(began)),
            "machine": machine(),
            "load": {"before": load_before, "after": load_average()},
            "versions": versions(),
            "seeds": [SEED],
            "seconds": round(time.time() - began, 1),
            "figures": figures,
        }
        given.out.parent.mkdir(parents=True, exist_ok=True)
        write_text(given.out, json.dumps(kept, indent=1, allow_nan=False) + "\n")
        print(f"{name}: {kept[name]['seconds']} s", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
