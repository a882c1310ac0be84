"""``python -m benchmarks.readout.page records/readout.md``: the kept figures, written into the page."""

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from reference.markdown import replace_table

from benchmarks.machine import ROOT
from benchmarks.markdown import format_number, table

BEGIN = "<!-- figures: written by `python -m benchmarks.readout.page records/readout.md` -->"
RESULTS = ROOT / "benchmarks" / "results" / "readout.json"


def written_into(page: str, results: Mapping[str, Any]) -> str:
    """Return a page with the figures between its markers."""
    return replace_table(BEGIN, "\n".join(figures(results)).strip(), page)


def figures(results: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines."""
    of = {name: part["figures"] for name, part in results.items()}
    yield "How often nothing is called something, in experiments in which nothing moves; wanted: 5 %."
    yield ""
    yield from table(["one planned look", "false positives"], _shares(of["false positives"]))
    looks = [
        [where, _share(found["one planned look, taken every time"]), _share(found["sequential"])]
        for where, found in of["peeking"].items()
    ]
    yield from table(["looking again and again", "interval of one look", "interval at any look"], looks)
    yield "How often the 95 % interval holds a planted lift of 10 %, by Fieller and by the delta method on two scales."
    yield "An interval without ends holds everything."
    yield ""
    yield from table(["", "Fieller", "linear", "logarithmic"], _coverage(of["coverage"]))
    yield from table(
        ["correlation with the covariate", "ρ²", "share of the variance that CUPED takes off"],
        [[f"{row['correlation']:g}", f"{row['theory']:.3f}", f"{row['taken_off']:.3f}"] for row in of["cuped"]],
    )
    yield from table(["arms of 1,000,000 users", "the sample-ratio check fires"], _shares(of["sample ratio"]))
    yield from table(
        ["power, 80 % asked", "users an arm", "lift", "found"],
        [[name, f"{one['users_per_arm']:,}", f"{one['lift']:.0%}", _share(one)] for name, one in of["power"].items()],
    )
    yield from table(
        ["users, both arms", "half width of the interval at any look, in standard errors (one look: 1.96)"],
        [[f"{row['users']:,}", f"{row['radius']:.2f}"] for row in of["radius"]],
    )
    yield from _interleaving(of["interleaving"])
    yield _scale(of["scale"], results["scale"])


def _interleaving(found: Mapping[str, Any]) -> Iterator[str]:
    head = [f"interleaved lists of {found['users']:,} users, arms alike", "false positives"]
    yield from table(head, _shares(found["false positives"]))
    users, power = found["users for 80 %"], found["found with the users of the interleaved"]
    yield from table(
        ["a planted difference", "users for 80 %", f"found with {users['interleaved']:,} users"],
        [[name, f"{users[name]:,}", _share(power[name])] for name in users],
    )


def _scale(found: Mapping[str, Any], part: Mapping[str, Any]) -> str:
    return (
        f"{found['rows']:,} outcomes ({format_number(found['outcomes_mib'])} MiB of Parquet) of"
        f" {found['users']:,} users, {len(found['metrics'])} metrics,"
        f" two cohorts, all days, `--memory-limit {found['memory_limit']}`:"
        f" {format_number(found['cpu_s'])} s of processor time, {format_number(found['peak_mib'])} MiB at most. On"
        f" {part['machine']['cpu']}, {part['machine']['cores']} cores;"
        f" {format_number(found['seconds'])} s by the wall, where"
        f" {part['load']['before']:.0f} to {part['load']['after']:.0f} processes wanted a core."
    )


def _shares(rates: Mapping[str, Mapping[str, float]]) -> Iterator[list[str]]:
    for name, rate in rates.items():
        yield [name, _share(rate)]


def _share(rate: Mapping[str, float]) -> str:
    """Return the share with its exact interval."""
    return f"{rate['share']:.1%} ({rate['low']:.1%}–{rate['high']:.1%}) of {rate['experiments']:,}"


def _coverage(worlds: Mapping[str, Mapping[str, Mapping[str, float]]]) -> Iterator[list[str]]:
    for world, found in worlds.items():
        for metric in dict.fromkeys(name.rpartition(", ")[0] for name in found):
            rates = (found[f"{metric}, {way}"] for way in ("Fieller", "linear", "logarithmic"))
            yield [f"{world}: {metric}", *(f"{rate['share']:.1%}" for rate in rates)]


if __name__ == "__main__":
    file = Path(sys.argv[1])
    kept = json.loads(RESULTS.read_text(encoding="utf-8"))
    file.write_text(written_into(file.read_text(encoding="utf-8"), kept), encoding="utf-8")
