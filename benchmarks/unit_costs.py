"""``python -m benchmarks.unit_costs [--out FILE]``: the unit costs of `multitudes plan`, from records of benchmarks.

It reads the records of ``make bench``, ``make bench-index``, ``make bench-service`` and ``python -m benchmarks.scale``.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.machine import ROOT
from benchmarks.timing import round_figure
from multitudes.atomic import write_json
from multitudes_lab.capacity.unit_costs import UnitCosts

RESULTS = ROOT / "benchmarks" / "results"
_SHIPPED = ROOT / "packages" / "lab" / "src" / "multitudes_lab" / "capacity" / "unit_costs.json"


def main() -> None:
    """Read the records and write the unit costs."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.unit_costs", description="Collect unit costs.")
    parser.add_argument("--out", type=Path, default=_SHIPPED)
    out = parser.parse_args().out
    names = ("speed", "index", "service", "scale")
    read = {name: json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8")) for name in names}
    write_json(out, collect_unit_costs(**read).model_dump(mode="json"))


def collect_unit_costs(speed: Any, index: Any, service: Any, scale: Any) -> UnitCosts:  # noqa: ANN401 (records of benchmarks)
    """Return the unit costs from these records."""
    worlds = sorted((record["figures"] for record in scale["growth"].values()), key=lambda world: int(world["events"]))
    runs = speed["figures"]["runs"]
    trained = next(run for run in runs if run["case"] == "defaults" and run["method"] == "joint")
    sizes = speed["figures"]["settings"]
    core_s = sizes["events"] * speed["machine"]["cores"] / trained["targets_per_s"]["median"]
    # Of one process, with the most items, at the highest rate.
    served = max(service, key=lambda one: (-one["plan"].get("workers", 1), one["sizes"]["items"], one["plan"]["rate"]))
    answer_ms = served["figures"]["methods"]["joint"]["cpu_ms"]["median"]
    everybody = next(iter(scale["everybody"].values()))
    figures = everybody["figures"]
    machines = {_machine(record) for record in (*scale["growth"].values(), speed, served, everybody)}
    build, opened, asked = (_steps(index, part) for part in ("build", "open", "requests"))
    return UnitCosts.model_validate(
        {
            "machine": "; ".join(sorted(machines)),
            "width": served["sizes"]["width"],
            "vectors": 12,
            "history": served["sizes"]["history"],
            "prepare_core_s": _curve("s", "events", "scale", worlds, lambda w: w["prepare"]["cpu_s"]),
            "prepare_mib": _curve("MiB", "events", "scale", worlds, lambda w: w["prepare"]["peak_mib"]),
            "prepared_mib": _curve("MiB", "events", "scale", worlds, lambda w: w["prepared_mib"]),
            "train_core_s": _point("s", "targets", "speed", sizes["events"], core_s),
            "train_mib": _point("MiB", "items", "speed", sizes["items"], trained["peak_mib"]),
            "index_core_s": _curve("s", "items", "index", build, lambda f: f["cpu_s"]),
            "index_build_mib": _curve("MiB", "items", "index", build, lambda f: f["peak_mib"]),
            "index_own_mib": _curve("MiB", "items", "index", opened, lambda f: f["opened_mib"]["own"]),
            "index_files_mib": _curve("MiB", "items", "index", opened, lambda f: f["answered_mib"]["files"]),
            "search_core_ms": _curve("ms", "items", "index", asked, lambda f: f["12 x 100"]["cpu_ms"]["p50"]["median"]),
            "answer_core_ms": _point("ms", "items", "service", served["sizes"]["items"], answer_ms),
            "bulk_core_ms": _point("ms", "items", "scale", figures["items"], 1000 / figures["users_per_cpu_s"]),
            "state_kib": _point("KiB", "users", "scale", figures["users"], figures["state_mib"] * 1024),
        }
    )


def _machine(record: Any) -> str:  # noqa: ANN401
    machine = record["machine"]
    return f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB"


def index_steps(index: Any, part: str) -> list[dict[str, Any]]:  # noqa: ANN401
    """Return the records of a part on the hard vectors, the smallest first."""
    asked = {"kind": "latent", "engine": "inverted", "part": part}
    found = [record for record in index if asked.items() <= record["step"].items()]
    return sorted(found, key=lambda record: int(record["step"]["items"]))


def _steps(index: Any, part: str) -> list[dict[str, Any]]:  # noqa: ANN401
    """Return the figures of a part on the hard vectors, with their sizes, the smallest first."""
    return [
        record["figures"] | {"items": record["step"]["items"], "peak_mib": record["peak_mib"]}
        for record in index_steps(index, part)
    ]


def _curve(unit: str, by: str, source: str, rows: list[Any], value: Callable[[Any], float]) -> dict[str, Any]:
    points = [(row["events" if by == "events" else "items"], round_figure(value(row))) for row in rows]
    return {"unit": unit, "by": by, "source": f"{source}.json", "points": points}


def _point(unit: str, by: str, source: str, size: float, value: float) -> dict[str, Any]:
    return {"unit": unit, "by": by, "source": f"{source}.json", "points": [(size, round_figure(value))]}


if __name__ == "__main__":
    main()
