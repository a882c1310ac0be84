"""``python -m benchmarks.peers.page``: records/peers.md, from the JSON of the comparison alone."""

import json
from collections.abc import Mapping
from typing import Any

from benchmarks.machine import ROOT
from benchmarks.markdown import format_interval, format_number, table
from benchmarks.peers.__main__ import RESULTS
from benchmarks.peers.systems import SYSTEMS, System
from multitudes.atomic import write_text

Record = Mapping[str, Any]
_CORRECTED = "RecTools EASE corrected"
_HEAD = """# Other libraries, trained to the end

Written by `python -m benchmarks.peers.page` from `benchmarks/results/peers.json`; do not edit.
Measure with `make bench-peers PREPARED="DIR …"`: what is finished is not repeated, what is missing below is
run. Speed at equal settings is in [findings.md](findings.md#other-libraries-at-equal-settings).

"""
_TEXT = """
Candidates on the validation split, for first-time targets: everybody with such a target is asked, seen items are
excluded, and all items can be listed. Whoever has no list from a system, such as a user without history, gets the items
of the most users there, from every system. HR@100 has its 95 % interval over users; *− {reference}* is paired by user.

A system that trains by passes stops when HR@100 on validation has not risen for {patience} passes (RecTools'
transformers: 30, since they begin with many passes at popularity or below), and is shown after its best pass; of
several settings the best is shown, *tried* says how many. All this is chosen on the split that is shown, for ours and
for theirs, so all figures are a little high; the test split stays closed. Vectors have {width} numbers, histories of
sequence models {history} events, users of MIND and ComiRec {interests} vectors. Theirs read items alone; `joint` reads
topics and follows too, and is trained as in `examples/linear.toml`. *CPU s* is the processor time of training with one
thread, without lists: to the best pass, and of all trials with the passes after it. *MiB* is the largest memory of the
training process, libraries included.

* **EASE is the same model here and there**, so both must find the same: it checks export, protocol and scores. RecTools
  0.19.0 reads its weights the wrong way round for users (item j gets B[j, i] for item i of the history in place of
  B[i, j]). *RecTools EASE* is as released, *corrected* has the weights transposed.
* **torch-rechub's temperature.** Its MIND and ComiRec take one, .02 in its examples, and release 0.9.0 ignores it:
  logits are cosines between −1 and 1, and a softmax over a hundred of them learns hardly anything. Here they are
  divided by it.
* **RecTools' transformers** have every event as a target: histories beyond {history} events come in pieces. They are 64
  wide in place of RecTools' default of 256, as all vectors here, with two blocks and one head.
* **Bold** is ours. *Not run*: the trial was not begun. *Stopped*: it was ended by hand, and would have gone on.
"""


def page(records: Mapping[str, Record]) -> str:
    """Return the page for the records of all sets."""
    settings = next(iter(records.values()))["settings"]
    lines = [_HEAD.rstrip(), "", _TEXT.strip().format(reference=next(iter(records.values()))["reference"], **settings)]
    for name, record in records.items():
        lines += ["", *_section(name, record)]
    return "\n".join(lines).rstrip() + "\n"


def _section(name: str, record: Record) -> list[str]:
    data, machine, systems = record["data"], record["machine"], record["systems"]
    loads = [told["run"]["load"]["before"] for told in systems.values() if told["run"]["load"]["before"] is not None]
    busy = f" Load {min(loads):g} to {max(loads):g}, so no time by the wall is shown." if loads else ""
    head = ["system", "HR@100", "HR@10", "NDCG@100", f"− {record['reference']}, HR@100", "tried", "ended"]
    costs = ["CPU s", "of all", "MiB"]
    shown = [system for system in SYSTEMS if system.default or system.name in systems]
    return [
        f"## {name}",
        "",
        f"{data['users']:,} users, {data['items']:,} items, {data['training_events']:,} training events;"
        f" {record['users']:,} users asked for {record['targets']:,} targets."
        f" {machine['cpu']}, {machine['cores']} cores.{busy}",
        "",
        *table([*head, *costs], [_row(system, systems.get(system.name), len(costs)) for system in shown]),
        *_verdicts(record),
    ]


def _row(system: System, told: Record | None, costs: int) -> list[str]:
    name = f"**{system.name}**" if system.is_ours else system.name
    if told is None:
        return [name, *[""] * 4, f"0 of {len(system.trials)}", "not run", *[""] * costs]
    tried = f"{len(told['trials'])} of {len(system.trials)}"
    if told["stopped"] == "failed":
        return [name, *[""] * 4, tried, f"failed: {told['failed']}", *[""] * costs]
    figures, minus = told["figures"], told["minus_reference"].get("hr@100")
    spent = sum(trial.get("cpu_s", 0.0) for trial in told["trials"])
    return [
        name,
        format_interval(figures["hr@100"]),
        *(f"{figures[figure]['mean']:.3f}" for figure in ("hr@10", "ndcg@100")),
        "" if minus is None else format_interval(minus),
        tried,
        _ending(told),
        format_number(told.get("best_cpu_s", told["cpu_s"])),
        format_number(spent),
        format_number(told["peak_mib"]),
    ]


def _ending(told: Record) -> str:
    """Say how the training of the shown trial ended."""
    if told["stopped"] == "solved":
        return "solved"
    passes = f"pass {told['best_pass']} of {told['passes']}"
    if told["stopped"] == "converged":
        return passes
    if told["stopped"] == "time":
        return f"{passes}, **limit of {told['cpu_limit_s']:,.0f} CPU s**"
    return f"{passes}, **stopped**" if told["stopped"] == "interrupted" else f"{passes}, **last pass allowed**"


def _verdicts(record: Record) -> list[str]:
    """Say whether both EASE agree, and which systems are no comparison yet."""
    systems, lines = record["systems"], []
    if {"EASE", _CORRECTED} <= systems.keys():
        lines += [_same_ease(systems)]
    popular = systems.get("popularity")
    if popular:
        rate = popular["figures"]["hr@100"]["mean"]
        weak = [
            name
            for name, told in systems.items()
            if name != "popularity" and told["figures"] and told["figures"]["hr@100"]["mean"] <= rate
        ]
        if weak:
            lines += [f"No comparison yet, since not above popularity: {', '.join(weak)}."]
    return [*lines, ""] if lines else []


def _same_ease(systems: Record) -> str:
    """Compare both EASE at every regularisation that both tried."""
    rates = [
        {trial["settings"]["regularisation"]: trial["hr@100"] for trial in systems[name]["trials"]}
        for name in ("EASE", _CORRECTED)
    ]
    both = sorted(rates[0].keys() & rates[1].keys())
    if not both:
        return f"EASE and {_CORRECTED} have no regularisation in common yet."
    apart = max(abs(rates[0][value] - rates[1][value]) for value in both)
    tried = ", ".join(f"{value:g}" for value in both)
    return f"EASE and {_CORRECTED}, with the same regularisation ({tried}): HR@100 at most {apart:.4f} apart."


if __name__ == "__main__":
    write_text(ROOT / "records" / "peers.md", page(json.loads(RESULTS.read_text(encoding="utf-8"))["validation"]))
