"""A readout as tables for a terminal."""

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

WIDE = 110  # columns from which everything fits


def experiment_tables(of: Readout, width: int) -> Group:
    """Return everything that a person wants to see of a readout, for a terminal of ``width`` columns."""
    parts: list[RenderableType] = [heading(of), arm_sizes(of), "", metrics_table(of, width)]
    parts += [cohorts_table(of, width)] if of.cohorts else []
    parts += [days_table(of)] if len(of.days) > 1 else []
    parts += [Text(line) for line in verdict(of)]
    return Group(*parts, Text("\n" + "\n".join(notes(of)), style="dim"))


def heading(of: Readout) -> Text:
    """Return how many users were seen, from when to when."""
    first, last = (datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M") for at in (of.first, of.last))
    window = f", {of.settings.window_days} days since the exposure" if of.settings.window_days else ""
    return Text.assemble(
        (f"{sum(of.sample_ratio.users.values()):,} users", "bold"),
        f", exposed from {first}, outcomes to {last} UTC{window}",
    )


def arm_sizes(of: Readout) -> Text:
    """Return whether the arms are as large as planned."""
    arms = ", ".join(f"{arm} {n:,}" for arm, n in of.sample_ratio.users.items())
    verdict = "as planned" if of.sample_ratio.ok else "NOT as planned"
    return Text(f"arms {verdict} (p = {of.sample_ratio.p:.2g}): {arms}", style="" if of.sample_ratio.ok else "bold red")


def metrics_table(of: Readout, width: int) -> Table:
    """Return the comparisons of all users."""
    table = _empty_table(f"against {of.control}, in percent", [of.control, "arm"] if width >= WIDE else [], width)
    for name, found in comparisons_by_name(of, of.metrics).items():
        means = (_format_mean(found.control), _format_mean(found.treatment)) if width >= WIDE else ()
        table.add_row(name, *means, *_comparison_cells(found, width), style=_style(found))
    return table


def cohorts_table(of: Readout, width: int) -> Table:
    """Return the comparisons by cohort."""
    table = _empty_table("by cohort, in percent", ["users"] if width >= WIDE else [], width)
    cohorts = {cohort: comparisons_by_name(of, metrics) for cohort, metrics in of.cohorts.items()}
    for name in comparisons_by_name(of, of.metrics):
        for cohort, compared in cohorts.items():
            found = compared[name]
            users = [f"{found.users_control + found.users_treatment:,}"] if width >= WIDE else []
            table.add_row(f"{name}, {cohort}", *users, *_comparison_cells(found, width), style=_style(found))
    return table


def _empty_table(title: str, numbers: list[str], width: int) -> Table:
    table = plain_table(title)
    table.add_column("metric", overflow="fold")
    for name in (*numbers, "lift, 95 %", "at any look", *(["p, Holm"] if width >= WIDE else [])):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    return table


def comparisons_by_name(of: Readout, metrics: Comparisons) -> dict[str, Comparison]:
    """Return comparisons by metric, and by arm where there are several."""
    several = len(of.sample_ratio.users) > 2
    return {
        f"{metric}, {arm}" if several else metric: found
        for metric, arms in metrics.items()
        for arm, found in arms.items()
    }


def _format_mean(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


def days_table(of: Readout) -> Table:
    """Return lifts by days since the exposure, a row for each metric, arm and period: columns would not fit."""
    table = plain_table("by days since the exposure (0: its own), of users who were in for all of them, in percent")
    table.add_column("metric")
    for title in ("days", "users", "lift, 95 %"):
        table.add_column(title, justify="right", no_wrap=True)
    periods = {days: comparisons_by_name(of, metrics) for days, metrics in of.days.items()}
    for name in comparisons_by_name(of, of.metrics):
        for number, ((first, end), found) in enumerate(periods.items()):
            days = f"{first}" if end == first + 1 else f"{first}–{end - 1}"
            one = found[name]
            table.add_row(
                "" if number else name, days, f"{one.users_control + one.users_treatment:,}", _format_lift(one)
            )
    return table


def notes(of: Readout) -> Iterator[str]:
    """Yield what was done to the tables, what to beware of, and how to read the figures."""
    yield from (f"warning: {warning}" for warning in of.warnings)
    yield from (f"repair: {repair_text(name, count, REPAIRS)}" for name, count in of.repairs.items())
    for metric, cuts in of.winsorised.items():
        for cut in cuts:
            yield f"winsorised: {metric}: {cut.of} above {cut.at:g} cut to it, {cut.users:,} users"
    for metric, known in of.covariates.items():
        taken = [found.explained for found in of.metrics[metric].values()]
        if known and taken:
            yield f"CUPED: {metric}: {', '.join(known)} explain {max(taken):.0%} of the variance, which is taken off"
    yield (
        f"Intervals: {LEVEL:.0%}, users as units, each for itself; «at any look» holds however often one looks. What is"
        f" said to be up or down holds with {1 - LEVEL:.0%} of error for all of a table together (Holm)."
    )


def _comparison_cells(found: Comparison, width: int) -> Iterator[str]:
    yield _format_lift(found)
    yield format_lift_interval(found.sequential.low, found.sequential.high) if found.lift is not None else "–"
    if width >= WIDE:
        yield "–" if found.p_holm is None else f"{found.p_holm:.2g}"
    yield conclusion(found)


def _format_lift(found: Comparison) -> str:
    return "–" if found.lift is None else f"{100 * found.lift:+.2f} {format_lift_interval(found.low, found.high)}"


def _style(found: Comparison) -> str | None:
    if found.lift is None or not found.significant:
        return None
    return "green" if found.lift > 0 else "red"
