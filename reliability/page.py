"""``python -m reliability.page``: records/reliability.md, from the JSON of the runs at full size alone."""

import json
from importlib import import_module
from inspect import getdoc
from typing import Any

from benchmarks.machine import ROOT
from benchmarks.markdown import format_number, table

from reliability.suite import TRIALS

_HEAD = """# Reliability

Written by `python -m reliability.page` from `reliability/results/scale-1.json`; do not edit. Try it on your own machine
with `make reliability`, or one trial with `python -m reliability NAME`.

Each trial does harm on purpose and counts what comes of it. Beside each figure stands that of a **control**, which must
fail: where it does not, the trial could not have told, and the claim is not shown. A control is a naive variant, or
*{before}*: the same attack on commit {commit} of this repository, on which the attack was first made, with the
packages of today. All of it runs on one machine, which the load shares with the service. At full size the release has
{items:,} items in {width} dimensions and {vectors} vectors for each user, where time matters. The trials below took
{minutes:.0f} minutes together, but for the soak, which is asked for by name, for as long as `--seconds` says.

What this page does not show stands at its end: [not tested](#not-tested).

{ran}
"""


_NOT_TESTED = """## Not tested

Nothing here says how the service fares in these:

* **Loss of power of the machine.** Processes are killed, the kernel never is. What is acknowledged was handed to the
  disk with `fsync`; whether a disk keeps its word is not tried.
* **Kubernetes, Docker, systemd.** The recipes in `deploy/` are parsed by tests, and the bind mount of keys is made in a
  namespace. No cluster, container engine or init system has run them.
* **A network of its own.** All clients are on the same machine; loss, delay and reordering of packets are not tried,
  but for a store that is cut off.
* **Several machines.** Workers are processes of one machine, on one clock; one that dies is in [faults.md](faults.md).
* **An attack on a Milvus server.** That a release names neither server nor token (D5) is tested in `tests/milvus` and
  `tests/index/test_factory.py`.
* **ONNX Runtime before 1.24.1**, which read the weights of a tower anywhere on the machine (D6): it can no longer be
  installed beside this version. The attack leaves the weights in the folder of the release.
* **Dependencies that are slow, full, gone or wrong** have a page of their own: [faults.md](faults.md).
* **Large releases.** A million items are measured in [service-speed.md](service-speed.md), under no attack.
* **Weeks.** The longest soak is the one above.
"""


def page(records: list[dict[str, Any]]) -> str:
    """Return the page for the records of runs; the order is that of the trials."""
    from reliability.codes import BEFORE, COMMIT  # noqa: PLC0415 (needs more than the page does)
    from reliability.world import World  # noqa: PLC0415

    by_name = {record["name"]: record for record in records}
    made = [by_name[name] for name in TRIALS if name in by_name]
    missing = [f"`{name}`" for name in TRIALS if name not in by_name]
    world = World()
    minutes = sum(record["seconds"] for record in made if record["name"] != "soak") / 60
    size = {"items": world.items, "width": world.width, "vectors": 4, "minutes": minutes}
    head = _HEAD.format(ran=_ran(made), before=BEFORE, commit=COMMIT, **size)
    left_out = f"Not tried in this run: {', '.join(missing)}.\n" if missing else ""
    return "\n".join([head, left_out, *(_section(record) for record in made), _NOT_TESTED])


def _ran(records: list[dict[str, Any]]) -> str:
    """Say where, and how large; what differs between trials stands at each."""
    first = records[0]
    packages = {name: version for name, version in first["versions"].items() if version and name != "commit"}
    versions = ", ".join(f"{name} {version}" for name, version in packages.items())
    scales = sorted({record["scale"] for record in records})
    small = "" if scales == [1.0] else " **Not all of it at full size: each trial says its scale.**"
    where = "{cpu}, {cores} cores, {memory_gib} GiB, {os}".format(**first["machine"])
    return f"{where}. {versions}. Seed {first['seed']}.{small}"


def _section(record: dict[str, Any]) -> str:
    load, scale = record["load"], record["scale"]
    size = "full size" if scale == 1 else f"**scale {scale:g}**"
    took = f"{record['when']}, commit {record['versions']['commit']}, {size}, {record['seconds']:,.0f} s"
    note = f"{took}, load of the machine {load['before']} to {load['after']}."
    if max(filter(None, load.values()), default=0.0) > 2 * record["machine"]["cores"]:
        note += " **Others were at work on it: what is said of time and memory says little.**"
    described = getdoc(import_module(f"reliability.{record['name']}")) or ""
    lines = [f"## {TRIALS[record['name']]}", "", described, "", note, ""]
    if record["skipped"]:
        lines += [f"Skipped: {record['skipped']}.", ""]
    rows = [_row(claim) for claim in record["claims"]]
    lines += table(["claim", "must be", "found", "control", "control found", "shown"], rows) if rows else []
    command = f"python -m reliability {record['name']}" + ("" if scale == 1 else f" --scale {scale:g}")
    details = json.dumps(record["figures"], ensure_ascii=False)
    folded = ["<details><summary>All figures</summary>", "", "```json", details, "```", "", "</details>", ""]
    return "\n".join([*lines, f"`{command}`", "", *folded])


def _row(claim: dict[str, Any]) -> list[str]:
    shown = "yes" if claim["shown"] else "**no**"
    figures = format_number(claim["figure"]), format_number(claim["control_figure"])
    return [claim["text"], claim["bound"], figures[0], claim["control"], figures[1], shown]


if __name__ == "__main__":
    records = json.loads((ROOT / "reliability" / "results" / "scale-1.json").read_text(encoding="utf-8"))
    (ROOT / "records" / "reliability.md").write_text(page(records), encoding="utf-8")
