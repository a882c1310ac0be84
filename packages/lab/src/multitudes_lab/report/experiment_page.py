"""The HTML report of an experiment: conclusions, lifts of all users, of cohorts and of days, then notes."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from multitudes.report.charts import VERDICT_LOOKS, Chart, interval_chart
from multitudes.report.document import Block, Figure, Heading, Text
from multitudes.report.html_elements import write_html
from multitudes_lab.experiments.comparison import Comparison
from multitudes_lab.experiments.readout import Readout
from multitudes_lab.experiments.summary import verdict
from multitudes_lab.report.experiment_tables import arm_sizes, heading, notes, sections


def write_experiment_page(readout: Readout, out: Path) -> None:
    """Write the report of an experiment atomically to ``out``."""
    write_html(out, "Readout", _blocks(readout))


def _blocks(readout: Readout) -> Iterator[Block]:
    yield Heading("Readout", 1)
    yield Text(f"{heading(readout)}; {arm_sizes(readout)}", "soft")
    yield from (Text(line, "headline") for line in verdict(readout))
    for section in sections(readout):
        yield Heading(section.heading)
        yield from (Figure(_lift_chart(comparisons), caption) for caption, comparisons in section.charts.items())
        yield section.table
    yield Heading("Notes")
    yield from map(Text, notes(readout))


def _lift_chart(comparisons: Mapping[str, Comparison]) -> Chart | None:
    rows = [
        {"name": name, "group": "not significant" if not one.significant else "up" if one.lift > 0 else "down"}
        | {"mean": 100 * one.lift, "low": _percent(one.low), "high": _percent(one.high)}
        | {"wide_low": _percent(one.sequential.low), "wide_high": _percent(one.sequential.high)}
        for name, one in comparisons.items()
        if one.lift is not None
    ]
    looks = dict(zip(("up", "not significant", "down"), VERDICT_LOOKS.values(), strict=True))
    return interval_chart(rows, "lift, %", looks, wide=True)


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share
