"""The readout of an experiment as tables for a terminal."""

from collections.abc import Iterator
from datetime import UTC, datetime

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from multitudes.data.repairs import repair_text
from multitudes.experiments.comparison import Comparison
from multitudes.experiments.confidence_sequence import LEVEL
from multitudes.experiments.readout import Comparisons, Readout
from multitudes.experiments.summary import REPAIRS, conclusion, format_lift_interval, verdict
from multitudes.report.evaluation_tables import plain_table

WIDE = 110  # terminal columns that fit all figures


def experiment_tables(readout: Readout, width: int) -> Group:
    """Return a readout for a terminal of ``width`` columns: tables, conclusions and notes."""
    blocks: list[RenderableType] = [heading(readout), arm_sizes(readout), "", metrics_table(readout, width)]
    blocks += [cohorts_table(readout, width)] if readout.cohorts else []
    blocks += [days_table(readout)] if len(readout.days) > 1 else []
    blocks += [Text(line) for line in verdict(readout)]
    return Group(*blocks, Text("\n" + "\n".join(notes(readout)), style="dim"))


def heading(readout: Readout) -> Text:
    """Return the number of users and the time range."""
    first, last = (datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M") for at in (readout.first, readout.last))
    window = f", {readout.settings.window_days} days since the exposure" if readout.settings.window_days else ""
    return Text.assemble(
        (f"{sum(readout.sample_ratio.users.values()):,} users", "bold"),
        f", exposed from {first}, outcomes to {last} UTC{window}",
    )


def arm_sizes(readout: Readout) -> Text:
    """Return whether the sizes of the arms are as planned."""
    arms = ", ".join(f"{arm} {n:,}" for arm, n in readout.sample_ratio.users.items())
    verdict = "as planned" if readout.sample_ratio.ok else "NOT as planned"
    return Text(
        f"arms {verdict} (p = {readout.sample_ratio.p:.2g}): {arms}",
        style="" if readout.sample_ratio.ok else "bold red",
    )


def metrics_table(readout: Readout, width: int) -> Table:
    """Return the comparisons of all users."""
    table = _empty_table(
        f"against {readout.control}, in percent", [readout.control, "arm"] if width >= WIDE else [], width
    )
    for name, one in comparisons_by_name(readout, readout.metrics).items():
        means = (_format_mean(one.control), _format_mean(one.treatment)) if width >= WIDE else ()
        table.add_row(name, *means, *_comparison_cells(one, width), style=_style(one))
    return table


def cohorts_table(readout: Readout, width: int) -> Table:
    """Return the comparisons by cohort."""
    table = _empty_table("by cohort, in percent", ["users"] if width >= WIDE else [], width)
    cohorts = {cohort: comparisons_by_name(readout, metrics) for cohort, metrics in readout.cohorts.items()}
    for name in comparisons_by_name(readout, readout.metrics):
        for cohort, comparisons in cohorts.items():
            one = comparisons[name]
            users = [f"{one.users_control + one.users_treatment:,}"] if width >= WIDE else []
            table.add_row(f"{name}, {cohort}", *users, *_comparison_cells(one, width), style=_style(one))
    return table


def _empty_table(title: str, numbers: list[str], width: int) -> Table:
    table = plain_table(title)
    table.add_column("metric", overflow="fold")
    for name in (*numbers, "lift, 95 %", "at any look", *(["p, Holm"] if width >= WIDE else [])):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    return table


def comparisons_by_name(readout: Readout, metrics: Comparisons) -> dict[str, Comparison]:
    """Return comparisons by metric, and by arm if there are several."""
    several_arms = len(readout.sample_ratio.users) > 2
    return {
        f"{metric}, {arm}" if several_arms else metric: one
        for metric, arms in metrics.items()
        for arm, one in arms.items()
    }


def _format_mean(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


def days_table(readout: Readout) -> Table:
    """Return lifts by days since the exposure; periods are rows, because columns would not fit."""
    table = plain_table("by days since the exposure (0: its day), of users observed on all of them, in percent")
    table.add_column("metric")
    for title in ("days", "users", "lift, 95 %"):
        table.add_column(title, justify="right", no_wrap=True)
    periods = {days: comparisons_by_name(readout, metrics) for days, metrics in readout.days.items()}
    for name in comparisons_by_name(readout, readout.metrics):
        for number, ((first, end), metrics) in enumerate(periods.items()):
            days = f"{first}" if end == first + 1 else f"{first}–{end - 1}"
            one = metrics[name]
            table.add_row(
                "" if number else name, days, f"{one.users_control + one.users_treatment:,}", _format_lift(one)
            )
    return table


def notes(readout: Readout) -> Iterator[str]:
    """Yield warnings, repairs of the tables, and how to read the figures."""
    yield from (f"warning: {warning}" for warning in readout.warnings)
    yield from (f"repair: {repair_text(name, count, REPAIRS)}" for name, count in readout.repairs.items())
    for metric, cuts in readout.winsorised.items():
        for cut in cuts:
            yield f"winsorised: {metric}: {cut.of} above {cut.at:g} limited to it, {cut.users:,} users"
    for metric, known in readout.covariates.items():
        explained = [one.explained for one in readout.metrics[metric].values()]
        if known and explained:
            yield f"CUPED: {metric}: {', '.join(known)} explain {max(explained):.0%} of the variance, which is removed"
    yield (
        f"Intervals: {LEVEL:.0%} each, users as units; «at any look» is valid however often one looks. Up and down:"
        f" significant at {1 - LEVEL:.0%} for all comparisons of a table together (Holm)."
    )


def _comparison_cells(one: Comparison, width: int) -> Iterator[str]:
    yield _format_lift(one)
    yield format_lift_interval(one.sequential.low, one.sequential.high) if one.lift is not None else "–"
    if width >= WIDE:
        yield "–" if one.p_holm is None else f"{one.p_holm:.2g}"
    yield conclusion(one)


def _format_lift(one: Comparison) -> str:
    return "–" if one.lift is None else f"{100 * one.lift:+.2f} {format_lift_interval(one.low, one.high)}"


def _style(one: Comparison) -> str | None:
    if one.lift is None or not one.significant:
        return None
    return "green" if one.lift > 0 else "red"
