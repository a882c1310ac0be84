"""The readout of an experiment, and that of interleaved lists, as tables for a terminal and for its page."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import NamedTuple

from rich.console import Group
from rich.text import Text

from multitudes.data.clean.tables import repair_text
from multitudes.report.document import Cell, Table, to_terminal
from multitudes_lab.experiments.comparison import Comparison, Comparisons
from multitudes_lab.experiments.confidence_sequence import LEVEL
from multitudes_lab.experiments.interleaving import InterleavingResult
from multitudes_lab.experiments.readout import Readout
from multitudes_lab.experiments.summary import REPAIRS, conclusion, detectable_lift, format_lift_interval, verdict

WIDE = 110  # terminal columns that fit all figures
_FIGURES = ("lift, 95 %", "at any look", "p, Holm", "detects", "")
_CAPTION = "Thick: for one planned look. Thin: for any number of looks. Coloured: significant after Holm's correction."


class Section(NamedTuple):
    """What the readout says of all users, of cohorts, or of the days since the exposure."""

    heading: str
    charts: Mapping[str, Mapping[str, Comparison]]  # caption → comparisons by name
    table: Table


def experiment_tables(readout: Readout, width: int) -> Group:
    """Return a readout for a terminal of ``width`` columns: tables, conclusions and notes."""
    lines = [Text(heading(readout)), Text(arm_sizes(readout), style="" if readout.sample_ratio.ok else "bold red")]
    tables = [to_terminal(section.table, width) for section in sections(readout)]
    verdicts = [Text(line) for line in verdict(readout)]
    return Group(*lines, "", *tables, *verdicts, Text("\n" + "\n".join(notes(readout)), style="dim"))


def heading(readout: Readout) -> str:
    """Return the number of users and the time range."""
    first, last = (datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M") for at in (readout.first, readout.last))
    window = f", {readout.settings.window_days} days since the exposure" if readout.settings.window_days else ""
    users = sum(readout.sample_ratio.users.values())
    return f"{users:,} users, exposed from {first}, outcomes to {last} UTC{window}"


def arm_sizes(readout: Readout) -> str:
    """Return whether the sizes of the arms are as planned."""
    arms = ", ".join(f"{arm} {n:,}" for arm, n in readout.sample_ratio.users.items())
    words = "as planned" if readout.sample_ratio.ok else "NOT as planned"
    return f"arms {words} (p = {readout.sample_ratio.p:.2g}): {arms}"


def sections(readout: Readout) -> Iterator[Section]:
    """Yield the comparisons of all users, by cohort, and by days if there are several periods."""
    control, everybody = readout.control, _by_name(readout, readout.metrics)
    table = _comparison_table(f"against {control}, in percent", control, everybody)
    yield Section(f"Against {control}", {_CAPTION: everybody}, table)
    if readout.cohorts:
        cohorts = {cohort: _by_name(readout, metrics) for cohort, metrics in readout.cohorts.items()}
        # The cohorts of a metric stand together.
        lifts = {f"{name}, {cohort}": of[name] for name in everybody for cohort, of in cohorts.items()}
        yield Section("By cohort", {_CAPTION: lifts}, _comparison_table("by cohort, in percent", control, lifts))
    if len(readout.days) > 1:
        periods = {
            f"{first}" if end == first + 1 else f"{first}–{end - 1}": _by_name(readout, metrics)
            for (first, end), metrics in readout.days.items()
        }
        by_days = {name: {days: of[name] for days, of in periods.items()} for name in everybody}
        charts = {f"{name}, by days since the exposure.": of for name, of in by_days.items()}
        yield Section("By days since the exposure", charts, _days_table(by_days))


def _by_name(readout: Readout, metrics: Comparisons) -> dict[str, Comparison]:
    """Return comparisons by metric, and by arm if there are several."""
    several_arms = len(readout.sample_ratio.users) > 2
    return {
        f"{metric}, {arm}" if several_arms else metric: one
        for metric, arms in metrics.items()
        for arm, one in arms.items()
    }


def _comparison_table(title: str, control: str, comparisons: Mapping[str, Comparison]) -> Table:
    head = ("metric", "users", control, "arm", *_FIGURES)
    room = dict.fromkeys(("users", control, "arm", "p, Holm", "detects"), WIDE)
    rows = [
        [
            name,
            f"{one.users_control + one.users_treatment:,}",
            *("–" if mean is None else f"{mean:.4g}" for mean in (one.control, one.treatment)),
            *_figure_cells(one),
        ]
        for name, one in comparisons.items()
    ]
    return Table(title, head, rows, words=[""], room=room)


def _days_table(by_days: Mapping[str, Mapping[str, Comparison]]) -> Table:
    """Return lifts by days since the exposure; periods are rows, because columns would not fit."""
    rows = [
        ["" if number else name, days, f"{one.users_control + one.users_treatment:,}", _format_lift(one)]
        for name, periods in by_days.items()
        for number, (days, one) in enumerate(periods.items())
    ]
    title = "by days since the exposure (0: its day), of users observed on all of them, in percent"
    return Table(title, ("metric", "days", "users", "lift, 95 %"), rows)


def _figure_cells(one: Comparison) -> Iterator[Cell | str]:
    """Yield the cells of ``_FIGURES``."""
    detects = detectable_lift(one)
    yield _format_lift(one)
    yield "–" if one.lift is None else format_lift_interval(one.sequential.low, one.sequential.high)
    yield "–" if one.p_holm is None else f"{one.p_holm:.2g}"
    yield "–" if detects is None else f"{100 * detects:.2f}"
    tone = "" if one.lift is None or not one.significant else "better" if one.lift > 0 else "worse"
    yield Cell(conclusion(one), tone)


def preference_tables(result: InterleavingResult) -> tuple[Table, Table]:
    """Return the credit of the arms of interleaved lists, and the users by the arm that they credit more."""
    pairs = [(metric, arm, one) for metric, arms in result.metrics.items() for arm, one in arms.items()]
    credit = [[f"{metric}, {arm}", *_figure_cells(one)] for metric, arm, one in pairs]
    room = dict.fromkeys(("p, Holm", "detects"), WIDE)
    sides = []
    for metric, arm, _ in pairs:
        test = result.sides[metric][arm]
        sides.append([f"{metric}, {arm}", *(f"{n:,}" for n in (test.arm, test.control, test.alike)), f"{test.p:.2g}"])
    return (
        Table(f"credit against {result.control}, in percent", ("metric", *_FIGURES), credit, words=[""], room=room),
        Table("users who credit more", ("metric", "the arm", result.control, "both alike", "p"), sides),
    )


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
        f" significant at {1 - LEVEL:.0%} for all comparisons of a table together (Holm). Detects: the lift that so"
        " many users show four times in five."
    )


def _format_lift(one: Comparison) -> str:
    return "–" if one.lift is None else f"{100 * one.lift:+.2f} {format_lift_interval(one.low, one.high)}"
