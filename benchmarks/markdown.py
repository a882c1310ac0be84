"""Markdown tables, and numbers formatted for people."""

from collections.abc import Iterable, Mapping


def table(head: list[str], rows: Iterable[list[str]]) -> list[str]:
    """Return a Markdown table and an empty line."""
    lines = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(line) + " |" for line in lines] + [""]


def format_number(value: float) -> str:
    """Return a number with three significant digits and thousands separators."""
    if abs(value) >= 100 or value == int(value):
        return f"{float(f'{value:.3g}'):,.0f}"
    return f"{value:.3g}"


def format_interval(figure: Mapping[str, float]) -> str:
    """Return a figure with its interval; a zero has no sign."""
    mean, low, high = (f"{figure[name] + 0.0:.3f}" for name in ("mean", "low", "high"))
    return f"{mean} ({low}–{high})"


def format_spread(spread: Mapping[str, float]) -> str:
    """Return the median, with the range if there are several repeats."""
    middle = format_number(spread["median"])
    if spread["repeats"] == 1:
        return middle
    return f"{middle} ({format_number(spread['min'])}–{format_number(spread['max'])})"
