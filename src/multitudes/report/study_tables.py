"""The tables of a study, for its HTML report and its Markdown page. All their figures come from the summary."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from multitudes.evaluation.list_metrics import METRICS
from multitudes.evaluation.outcomes import UNCONDITIONED
from multitudes.metrics.significance import adjust_holm_by_key
from multitudes.report.document import Cell, Table
from multitudes.report.formatting import (
    CONTROL_LABELS,
    KIND_LABELS,
    TRAINED_CONTROL,
    Estimate,
    format_difference,
    format_interval,
    format_number,
    segment_label,
)

Row = list[Cell | str]
_BEATS = {True: "yes", False: "no", None: "–"}
_HEALTH = {
    "effective": "effective interests",
    "cosine": "cosine between them",
    "empty_slots": "empty slots",
    "empty_topics": "empty topics",
    "overlap": "overlap of implicit and explicit",
}
_FEW_METHODS = 4  # of more, the first table has a row each
_STRONGEST, _ALL_CONTROLS = "strongest baseline", "all controls"


def main_comparison(summary: dict[str, Any]) -> tuple[str, dict[str, tuple[str, dict[str, Any]]]]:
    """Return what the first table compares with: the strongest baseline of each data set, else the reference.

    The name of the reference is empty for the strongest baselines. Each data set has the name of the opponent and the
    difference in HR of each method to it.
    """
    data, reference = summary["data"], summary["reference"]
    strongest = {name: found for name, one in data.items() if (found := one.get("strongest_baseline"))}
    if strongest:
        return "", {name: (found["method"], found["minus"]) for name, found in strongest.items()}
    differences = {name: {m: e["minus"]["hr"] for m, e in _comparisons(one, "method")} for name, one in data.items()}
    return reference, {name: (reference, minus) for name, minus in differences.items() if minus}


def _comparisons(data_set: dict[str, Any], role: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the methods of a role that are compared with the reference."""
    return ((m, e) for m, e in data_set["methods"].items() if e["role"] == role and "hr" in e["minus"])


def overview_table(summary: dict[str, Any]) -> Table:
    """Return the first table: each method beside the strongest baseline of each data set, else beside the reference."""
    reference, compared = main_comparison(summary)
    data, short = summary["data"], reference or "baseline"
    methods = list(dict.fromkeys(m for _, minus in compared.values() for m in minus))
    budget = data[next(iter(compared))]["budget"] if compared else 0
    labels = {name: f"{name}, {data[name]['users']:,} users" for name in compared}
    opponents = {
        name: f"{'' if reference else f'{opponent} '}{format_number(_hit_rate(data[name], opponent))}"
        for name, (opponent, _) in compared.items()
    }
    cells = {m: {name: _beside_opponent(data[name], m, *compared[name]) for name in compared} for m in methods}
    title = f"HR@{budget} beside {reference or f'the {_STRONGEST}'}; * the interval excludes zero, without correction."
    if len(methods) <= _FEW_METHODS:
        head = ["data set", reference or _STRONGEST, *(cell for m in methods for cell in (m, f"{m} − {short}"))]
        rows: list[Row] = [
            [labels[name], opponents[name], *(cell for m in methods for cell in cells[m][name])] for name in compared
        ]
        return Table(title, head, rows)
    head = [f"× {short}: − {short}", *labels.values()]
    rows = [[reference or _STRONGEST, *opponents.values()]]
    rows += [[m, *(": ".join(pair) for pair in by_name.values())] for m, by_name in cells.items()]
    return Table(title, head, rows)


def _beside_opponent(data_set: dict[str, Any], method: str, opponent: str, minus: dict[str, Any]) -> tuple[str, str]:
    """Return the hit rate of a method with its share of the opponent's, and the difference."""
    if method not in minus:
        return "–", "–"
    rate, other = _hit_rate(data_set, method), _hit_rate(data_set, opponent)
    factor = rate / other if other else float("nan")
    return f"{format_number(rate)}, × {factor:.2f}", format_difference(minus[method])


def _hit_rate(data_set: dict[str, Any], method: str) -> float:
    return float(data_set["methods"][method]["figures"]["hr"]["mean"])


def verdicts_table(summary: dict[str, Any]) -> Table:
    """Return on how many data sets each method, and each baseline, is better, level or worse than its opponents."""
    found: dict[str, dict[str, list[str]]] = {}  # method → opponent → verdicts
    for method, opponent, verdict in _verdicts(summary):
        found.setdefault(method, {}).setdefault(opponent, []).append(verdict)
    columns = (_STRONGEST, summary["reference"], *CONTROL_LABELS.values(), _ALL_CONTROLS)
    shown = [name for name in columns if any(name in verdicts for verdicts in found.values())]
    rows: list[Row] = [[m, *(_count_verdicts(one.get(name, []), name) for name in shown)] for m, one in found.items()]
    title = "Data sets on which a system is better / level / worse in HR; of all controls: beaten / of."
    return Table(title, ["better / level / worse than", *shown], rows)


def _verdicts(summary: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield method, opponent and verdict: those stored, and on the strongest baselines after Holm's correction."""
    data = summary["data"].values()
    strongest = [one.get("strongest_baseline") or {"minus": {}} for one in data]
    gains = {(method, g): gain for g, one in enumerate(strongest) for method, gain in one["minus"].items()}
    adjusted = adjust_holm_by_key({key: np.nan if gain["p"] is None else gain["p"] for key, gain in gains.items()})
    for key, gain in gains.items():
        is_shown = adjusted[key] < summary["level"]
        yield key[0], _STRONGEST, "level" if not is_shown else "better" if (gain["mean"] or 0) > 0 else "worse"
    for data_set in data:
        for method, entry in (pair for role in ("method", "baseline") for pair in _comparisons(data_set, role)):
            if verdict := entry["minus"]["hr"].get("verdict"):
                yield method, summary["reference"], verdict
        for method, controls in data_set["controls"].items():
            yield from ((method, CONTROL_LABELS[c], one["verdict"]) for c, one in controls.items() if "verdict" in one)
            if (beats := beats_controls(controls)) is not None:
                yield method, _ALL_CONTROLS, "better" if beats else "level"


def _count_verdicts(verdicts: Sequence[str], opponent: str) -> str:
    counts = [str(verdicts.count(word)) for word in ("better", "level", "worse")]
    if not verdicts:
        return "–"
    return f"{counts[0]} / {len(verdicts)}" if opponent == _ALL_CONTROLS else " / ".join(counts)


def beats_controls(gains: dict[str, Any]) -> bool | None:
    """Return whether a method is better than all its controls on a data set; None if one was not evaluated.

    Only some methods have a trained control.
    """
    controls = [control for control in CONTROL_LABELS if control != TRAINED_CONTROL or control in gains]
    if any("verdict" not in gains.get(control, {}) for control in controls):
        return None
    return all(gains[control]["verdict"] == "better" for control in controls)


def row_order(data_set: dict[str, Any]) -> list[str]:
    """Return the rows of a data set: methods, best first, each followed by its controls; then baselines."""
    methods, rows = data_set["methods"], []
    for method in _best_first(data_set, "method"):
        rows += [method, *(f"{method}/{c}" for c in CONTROL_LABELS if f"{method}/{c}" in methods)]
    return rows + _best_first(data_set, "baseline")


def _best_first(data_set: dict[str, Any], role: str) -> list[str]:
    own = [method for method, entry in data_set["methods"].items() if entry["role"] == role]
    return sorted(own, key=lambda method: -(data_set["methods"][method]["figures"]["hr"]["mean"] or 0))


def data_set_tables(name: str, data_set: dict[str, Any], summary: dict[str, Any]) -> list[Table]:
    """Return the tables of one data set; those without rows have nothing to show."""
    reference = summary["reference"]
    return [
        _methods_table(data_set, reference),
        _controls_table(data_set, reference),
        _systems_table(data_set),
        _budgets_table(data_set),
        _segments_table(data_set, reference),
        _kinds_table(data_set),
        _all_targets_table(data_set),
        _costs_table(summary["costs"].get(name, {}), summary["health"].get(name, {})),
    ]


def _methods_table(data_set: dict[str, Any], reference: str) -> Table:
    """Return the figures of methods, their controls and baselines, and the differences to the reference."""
    budget, strongest = data_set["budget"], data_set.get("strongest_baseline") or {"minus": {}}
    keys = [key for key in METRICS if any(key in entry["figures"] for entry in data_set["methods"].values())]
    rows: list[Row] = []
    for method in row_order(data_set):
        entry = data_set["methods"][method]
        found = entry["figures"]
        cells = [format_interval(found[key], METRICS[key].digits) if key in found else "–" for key in keys]
        gain = "reference" if method == reference else _difference(entry["minus"].get("hr"))
        p = entry["minus"].get("hr", {}).get("adjusted")
        adjusted = "" if p is None else "< .001" if p < 0.001 else format_number(p)
        ahead = [_gain_text(strongest["minus"].get(method))] if strongest["minus"] else []
        rates = entry["by_seed"]
        seeds = f"{format_number(min(rates))}–{format_number(max(rates))}" if len(rates) > 1 else ""
        label = f"↳ {method.partition('/')[2]}" if "/" in method else method
        rows.append([label, format_interval(entry["figures"]["hr"]), gain, adjusted, *ahead, *cells, seeds])
    ahead = [f"− {strongest['method']}"] if strongest["minus"] else []
    labels = [METRICS[key].label for key in keys]
    head = ["", f"HR@{budget}", f"− {reference}", "p, Holm", *ahead, *labels, "HR by seed"]
    return Table("", head, rows, own=reference)


def _controls_table(data_set: dict[str, Any], reference: str) -> Table:
    """Return each method against its controls, and whether it beats all of them."""
    shown = [one for one in CONTROL_LABELS if any(one in gains for gains in data_set["controls"].values())]
    rows: list[Row] = [
        [method, *(_difference(gains.get(name)) for name in shown), _BEATS[beats_controls(gains)]]
        for method, gains in data_set["controls"].items()
    ]
    head = ["HR of", *(f"− its {CONTROL_LABELS[name]}" for name in shown), "beats its controls"]
    return Table("Do interests matter? HR of each method less that of its controls.", head, rows, own=reference)


def _systems_table(data_set: dict[str, Any]) -> Table:
    """Return the other systems of each method, which query the same models, and what the method has more than each."""
    systems, methods = data_set.get("systems", {}), data_set["methods"]  # none of an earlier version
    has_served = all("served" in methods[name]["figures"] for name in systems)
    figures = ("served", "hr") if has_served else ("hr",)
    names, budget = {"served": "served", "hr": "HR"}, data_set["budget"]
    compared = {key: f"{names[key]}@{budget}" for key in figures}
    compared |= {f"{key}@{n}": f"{names[key]}@{n}" for n in data_set["budgets"] if n != budget for key in figures}
    compared = {key: label for key, label in compared.items() if any(key in system for system in systems.values())}
    rows: list[Row] = []
    for name in sorted(systems, key=lambda name: -(methods[name]["figures"][figures[0]]["mean"] or 0)):
        shown = [format_interval(methods[name]["figures"][key]) for key in figures]
        rows.append([name, *shown, *(_difference(systems[name].get(key)) for key in compared)])
    head = ["system", *(f"{names[key]}@{budget}" for key in figures)]
    head += [f"method − it, {label}" for label in compared.values()]
    return Table("The same models, queried differently; what the method has more, by user and seed.", head, rows)


def _budgets_table(data_set: dict[str, Any]) -> Table:
    """Return the hit rates of the methods that have one at every budget, if there are several budgets."""
    budgets = [str(budget) for budget in data_set["budgets"]]
    methods = [m for m in row_order(data_set) if "/" not in m and all(m in data_set["curves"][n] for n in budgets)]
    rows: list[Row] = [[m, *(format_interval(data_set["curves"][n][m]) for n in budgets)] for m in methods]
    return Table("HR by budget.", ["", *(f"HR@{n}" for n in budgets)], rows if len(budgets) > 1 else [])


def _segments_table(data_set: dict[str, Any], reference: str) -> Table:
    """Return the differences to the reference in each segment, one column per method."""
    segments = [
        (segment_label(name, label), segment)
        for name, segmentation in data_set["segments"].items()
        for label, segment in segmentation.items()
        if segment["minus"]
    ]
    methods = list(dict.fromkeys(m for _, segment in segments for m in segment["minus"]))
    rows: list[Row] = [
        [label, f"{segment['targets']:,}", *(_difference(segment["minus"].get(m), 3) for m in methods)]
        for label, segment in segments
    ]
    title = f"By segment: HR less that of {reference}; where a gain comes from, without verdicts."
    return Table(title, ["segment", "targets", *methods], rows)


def _kinds_table(data_set: dict[str, Any]) -> Table:
    """Return HR by segment from each kind of vector alone, and that less HR of the vector of the whole history."""
    kinds = data_set.get("kinds") or {"systems": [UNCONDITIONED], "segments": {}}
    whole, *others = kinds["systems"]
    rows: list[Row] = [
        [
            segment_label(name, label),
            f"{segment['targets']:,}",
            format_number(segment["rates"][whole]["mean"]),
            *(f"{format_number(segment['rates'][m]['mean'])} ({_gain_text(segment['minus'][m])})" for m in others),
        ]
        for name, segments in kinds["segments"].items()
        for label, segment in segments.items()
        if segment["rates"]
    ]
    names = [KIND_LABELS.get(kind, kind) for kind in (name.rpartition("/")[2] for name in kinds["systems"])]
    title = f"When each kind of vector pays: HR@{data_set['budget']} by segment (less that of the {names[0]})."
    return Table(title, ["segment", "targets", *names], rows)


def _all_targets_table(data_set: dict[str, Any]) -> Table:
    """Return hit rates for all targets, best first; ``own_history`` is the baseline to beat."""
    best = sorted((m for m in data_set["all"] if "/" not in m), key=lambda m: -(data_set["all"][m]["mean"] or 0))
    rows: list[Row] = [[m, format_interval(data_set["all"][m])] for m in best]
    return Table("All targets, including repeats.", ["", f"HR@{data_set['budget']}"], rows)


def _costs_table(costs: dict[str, dict[str, Any]], health: dict[str, dict[str, Any]]) -> Table:
    """Return the costs of each method and the health of its interests, averaged over its seeds."""
    shown = [key for key in _HEALTH if any(key in figures for figures in health.values())]
    rows: list[Row] = [
        [
            method,
            _format_integer(cost["train_seconds"]),
            _format_integer(cost["targets_per_s"]),
            _format_integer(cost["parameters"]),
            format_number(cost["vectors_per_user"], 1),
            format_number(cost["p90_ms"], 2),
            *(format_number(health.get(method, {}).get(key), 2) for key in shown),
        ]
        for method, cost in costs.items()
    ]
    head = ["", "training, s", "targets/s", "parameters", "vectors per user", "request, p90 ms"]
    return Table("Costs and interests, means over seeds.", [*head, *(_HEALTH[key] for key in shown)], rows)


def ranks_table(overall: dict[str, Any]) -> Table:
    """Return average ranks; methods that share a letter do not differ significantly (a compact letter display)."""
    letters = {
        method: "".join(chr(ord("a") + n) for n, clique in enumerate(overall["cliques"]) if method in clique)
        for method in overall["ranks"]
    }
    rows: list[Row] = [[method, f"{rank:.2f}", letters[method] or "–"] for method, rank in overall["ranks"].items()]
    title = (
        "Average ranks of HR over the data sets; methods that share a letter do not differ significantly (Wilcoxon's"
        " signed-rank test, exact, with Holm's correction over the pairs)."
    )
    return Table(title, ["", "average rank", "do not differ"], rows)


def _difference(gain: dict[str, Any] | None, digits: int = 4) -> Cell | str:
    """Return a difference with its verdict, if there is one; differences need one digit more than rates."""
    if gain is None:
        return "–"
    verdict = gain.get("verdict", "")
    return Cell(f"{format_difference(gain, digits).removesuffix(' *')} {verdict}".strip(), verdict)


def _gain_text(gain: Estimate | None) -> str:
    return "–" if gain is None else format_difference(gain)


def _format_integer(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}"
