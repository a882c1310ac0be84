"""The HTML tables of a study. All their figures come from the summary."""

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from multitudes.report.formatting import Estimate, format_difference, format_interval, format_number
from multitudes.report.html_elements import table_element
from multitudes.report.study_sentences import CONTROL_LABELS, beats_controls

_OPPONENTS = ("reference", *CONTROL_LABELS)
_BEATS = {True: "yes", False: "no", None: "–"}
_HEALTH = {
    "effective": "effective number",
    "cosine": "mean cosine",
    "empty_slots": "empty slots",
    "empty_topics": "empty topics",
    "overlap": "overlap of implicit and explicit",
}


def row_order(data_set: dict[str, Any]) -> list[str]:
    """Return the rows of a data set: methods, best first, each followed by its controls; then baselines."""
    methods, rows = data_set["methods"], []
    for method in _best_first(data_set, "method"):
        rows += [method, *(f"{method}/{c}" for c in CONTROL_LABELS if f"{method}/{c}" in methods)]
    return rows + _best_first(data_set, "baseline")


def methods_table(data_set: dict[str, Any], reference: str, rows: Sequence[str]) -> str:
    """Return a table of the methods: figures with intervals, and differences to the reference."""
    budget = data_set["budget"]
    head = [
        "",
        f"HR@{budget}",
        f"− {reference}",
        "p, Holm",
        f"NDCG@{budget}",
        *(["served", f"− {reference}"] if has_served(data_set) else []),
        "topics among hits",
        f"− {reference}, %",
        "HR by seed",
    ]
    return html_table(head, [_method_row(method, data_set, reference) for method in rows], numbers_from=1)


def has_served(data_set: dict[str, Any]) -> bool:
    """Return whether the interests served were measured: not by an earlier version."""
    return any("served" in entry["figures"] for entry in data_set["methods"].values())


def _method_row(method: str, data_set: dict[str, Any], reference: str) -> tuple[str, list[str]]:
    entry = data_set["methods"][method]
    name, _, control = method.partition("/")
    label = f'<td class=of title="{escape(method)}">{escape(control)}</td>' if control else f"<td>{escape(name)}</td>"
    gain, figures = entry["minus"].get("hr", {}), entry["figures"]
    cells = [
        format_interval(figures["hr"]),
        "reference" if method == reference else _difference_cell(gain),
        _format_p(gain.get("adjusted")),
        _interval_cell(figures, "ndcg"),
        *([_interval_cell(figures, "served"), _difference_cell(entry["minus"].get("served"))] * has_served(data_set)),
        _interval_cell(figures, "topics", 2),
        format_percent(entry["minus"]["topics"]["relative"]) if "topics" in entry["minus"] else "",
        _format_range(entry["by_seed"]),
    ]
    style = " class=own" if method == reference else " class=control" if control else ""
    return style, [label, *cells]


def other_controls_table(data_set: dict[str, Any], reference: str) -> str:
    """Return a table of the controls that ``methods_table`` leaves out: the same models, queried differently."""
    left_out = [
        m for m, entry in data_set["methods"].items() if entry["role"] == "control" and m not in row_order(data_set)
    ]
    rows = [
        (
            "",
            [
                f"<td>{escape(method)}</td>",
                format_interval(entry["figures"]["hr"]),
                _difference_cell(entry["minus"].get("hr")),
                _interval_cell(entry["figures"], "topics", 2),
            ],
        )
        for method in left_out
        if (entry := data_set["methods"][method])
    ]
    return (
        html_table(["", f"HR@{data_set['budget']}", f"− {reference}", "topics among hits"], rows, numbers_from=1)
        if rows
        else ""
    )


def controls_table(data_set: dict[str, Any], reference: str) -> str:
    """Return a table of each method against the reference and its controls, and whether it beats all controls."""
    rows, controls = [], [one for one in CONTROL_LABELS if any(one in gains for gains in data_set["controls"].values())]
    for method, gains in data_set["controls"].items():
        gain = data_set["methods"][method]["minus"].get("hr")
        against = "reference" if method == reference else _difference_cell(gain)
        cells = [against, *(_difference_cell(gains.get(control)) for control in controls)]
        rows.append(("", [f"<td>{escape(method)}</td>", *cells, _BEATS[beats_controls(gains)]]))
    head = ["HR of", f"− {reference}", *(f"− {CONTROL_LABELS[one]}" for one in controls), "beats its controls"]
    return html_table(head, rows, numbers_from=1) if rows else ""


def all_targets_table(data_set: dict[str, Any]) -> str:
    """Return a table of hit rates for all targets, best first; ``own_history`` is the baseline to beat."""
    best = sorted(
        (m for m in data_set["all"] if "/" not in m), key=lambda method: -(data_set["all"][method]["mean"] or 0)
    )
    rows = [("", [f"<td>{escape(m)}</td>", format_interval(data_set["all"][m])]) for m in best]
    return html_table(["", f"HR@{data_set['budget']}"], rows, numbers_from=1) if rows else ""


def wins_table(summary: dict[str, Any]) -> str:
    """Return a table of verdicts: on how many data sets each method is better, level or worse than its opponents."""
    rows, ranks = [], summary["overall"]["ranks"]
    opponents = [one for one in _OPPONENTS if any(one in wins for wins in summary["wins"].values())]
    for method in sorted(summary["wins"], key=lambda method: ranks.get(method, len(ranks) + 1)):
        cells = [_count_verdicts(summary["wins"][method].get(opponent, {})) for opponent in opponents]
        rank = ranks.get(method)
        rows.append(("", [f"<td>{escape(method)}</td>", "–" if rank is None else f"{rank:.2f}", *cells]))
    names = {"reference": summary["reference"], **CONTROL_LABELS}
    head = ["better / level / worse", "average rank", *(f"− {names[opponent]}" for opponent in opponents)]
    return html_table(head, rows, numbers_from=1) if rows else ""


def diversity_table(data_set: dict[str, Any]) -> str:
    """Return a table of the topics among hits and candidates, and of HR by popularity of the target."""
    topics = {"topics": "topics among hits", "candidate_topics": "topics among candidates"}
    tails = data_set["tails"]
    rows = []
    for method in _best_first(data_set, "method") + _best_first(data_set, "baseline"):
        figures = data_set["methods"][method]["figures"]
        cells = [_interval_cell(figures, key, 2) for key in topics]
        cells += [format_interval(tails[name][method]) for name in tails]
        rows.append(("", [f"<td>{escape(method)}</td>", *cells]))
    return html_table(["", *topics.values(), *(f"HR of {name} targets" for name in tails)], rows, numbers_from=1)


def health_table(health: dict[str, dict[str, Any]]) -> str:
    """Return a table of the interest health of each method that has interests, averaged over its seeds."""
    keys = [key for key in _HEALTH if any(key in figures for figures in health.values())]
    rows = [
        ("", [f"<td>{escape(method)}</td>", *(format_number(figures.get(key), 2) for key in keys)])
        for method, figures in health.items()
        if any(key in figures for key in keys)
    ]
    return html_table(["interests", *(_HEALTH[key] for key in keys)], rows, numbers_from=1) if rows else ""


def costs_table(costs: dict[str, dict[str, Any]], data_set: dict[str, Any]) -> str:
    """Return a table of the costs of each method, averaged over its seeds, and its HR."""
    rows = []
    for method, cost in costs.items():
        entry = data_set["methods"].get(method)
        cells = [
            format_integer(cost["train_seconds"]),
            format_integer(cost["targets_per_s"]),
            format_integer(cost["parameters"]),
            format_number(cost["vectors_per_user"], 1),
            format_number(cost["p90_ms"], 2),
            format_number(entry["figures"]["hr"]["mean"]) if entry else "–",
        ]
        rows.append(("", [f"<td>{escape(method)}</td>", *cells]))
    head = [
        "",
        "training, s",
        "targets/s",
        "parameters",
        "vectors per user",
        "request, p90 ms",
        f"HR@{data_set['budget']}",
    ]
    return html_table(head, rows, numbers_from=1)


def html_table(head: Sequence[str], rows: Iterable[tuple[str, list[str]]], numbers_from: int) -> str:
    """Return an HTML table.

    Args:
        head: column titles.
        rows: attributes of each ``<tr>``, and its cells; a cell that is not a ``<td>`` becomes one with a number.
        numbers_from: first column with numbers.
    """
    heads = "".join(f"<th{' class=number' if n >= numbers_from else ''}>{escape(h)}</th>" for n, h in enumerate(head))
    body = "".join(
        f"<tr{style}>{''.join(c if c.startswith('<td') else f'<td class=number>{c}</td>' for c in cells)}</tr>"
        for style, cells in rows
    )
    label = f"Table of {', '.join(name for name in head if name)}"
    return table_element(f"<thead><tr>{heads}</tr></thead><tbody>{body}</tbody>", label)


def verdict_span(word: str | None) -> str:
    """Return a verdict in its colour; empty without one."""
    return f'<span class="{word}">{word}</span>' if word else ""


def format_percent(figure: Estimate) -> str:
    """Return ``+3 [1, 5]``: a difference in percent of the reference."""
    if figure["mean"] is None or figure["low"] is None or figure["high"] is None:
        return "–"
    mean, low, high = (round(100 * figure[key]) for key in ("mean", "low", "high"))  # type: ignore[operator]
    return f"{mean:+d} [{low}, {high}]"


def format_integer(value: float | None) -> str:
    """Return an integer with thousands separators."""
    return "–" if value is None else f"{value:,.0f}"


def _difference_cell(gain: dict[str, Any] | None) -> str:
    """Return a difference and its verdict, if there is one; differences need one digit more than rates."""
    return f"{format_difference(gain, 4).removesuffix(' *')} {verdict_span(gain.get('verdict'))}" if gain else ""


def _count_verdicts(verdicts: dict[str, str]) -> str:
    if not verdicts:
        return "–"
    return " / ".join(str(list(verdicts.values()).count(word)) for word in ("better", "level", "worse"))


def _best_first(data_set: dict[str, Any], role: str) -> list[str]:
    own = [method for method, entry in data_set["methods"].items() if entry["role"] == role]
    return sorted(own, key=lambda method: -(data_set["methods"][method]["figures"]["hr"]["mean"] or 0))


def _interval_cell(figures: dict[str, Estimate], name: str, digits: int = 3) -> str:
    return format_interval(figures[name], digits) if name in figures else "–"


def _format_range(rates: list[float]) -> str:
    return f"{format_number(min(rates))}–{format_number(max(rates))}" if len(rates) > 1 else ""


def _format_p(value: float | None) -> str:
    return "" if value is None else "< .001" if value < 0.001 else format_number(value)
