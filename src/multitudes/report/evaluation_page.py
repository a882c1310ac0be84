"""The HTML report of an evaluated run."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from multitudes.data.prepared import Split
from multitudes.errors import ArtefactError
from multitudes.evaluation.baselines import BASELINES
from multitudes.evaluation.compare import read_result
from multitudes.progress import amount
from multitudes.report.charts import GREY, Look, Looks, interval_chart, line_chart
from multitudes.report.document import Block, Figure, Heading, Terms, Text
from multitudes.report.evaluation_tables import (
    budgets_table,
    explain_figures,
    heading,
    health_facts,
    methods_table,
    segments_table,
    vectors_table,
)
from multitudes.report.formatting import (
    SEGMENTATION_LABELS,
    TARGET_LABELS,
    format_number,
    informative_systems,
    negate,
    remarks,
    shown_systems,
    system_meanings,
    verdicts,
)
from multitudes.report.html_elements import write_html

# Roles differ in colour and shape, for print and for readers with colour blindness.
_CONTROL, _BASELINE = "control from the same run", "baseline"
_LOOKS: Looks = {_CONTROL: Look("#3b7fc4", "diamond"), _BASELINE: Look(GREY, "square")}
_SEGMENT_LOOKS = (Look("#d1432f", "circle"), Look("#3b7fc4", "diamond"), Look("#8e6bbf", "square"), Look(GREY, "cross"))


def write_evaluation_page(run: Path, out: Path, split: Split = "test") -> None:
    """Write the report of an evaluated run atomically to ``out``.

    Raises:
        ArtefactError: the run has not been evaluated on this split, or a file of it is damaged.
    """
    result = read_result(run, split)
    write_html(out, _title(result), evaluation_blocks(result, read_epochs(run)))


def read_epochs(run: Path) -> list[dict[str, Any]]:
    """Return the lines of metrics.jsonl, one for each epoch; empty if nothing was learned in epochs.

    Raises:
        ArtefactError: a line is damaged.
    """
    file = run / "metrics.jsonl"
    try:
        lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line]
    except FileNotFoundError:
        return []
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise ArtefactError(
            f"{file}: damaged, so the training curve cannot be drawn; delete the file to omit the curve"
        ) from None
    return [line for line in lines if "validation_hit_rate" in line]  # that of a linear model has only its speed


def _title(result: dict[str, Any]) -> str:
    return f"{result['method']} on {Path(result['data']['path']).name}"


def evaluation_blocks(result: dict[str, Any], epochs: list[dict[str, Any]]) -> Iterator[Block]:
    """Yield the content of the page. All its figures come from the result and the epochs."""
    own = result["method"]
    yield Heading(_title(result), 1)
    yield from (Text(line, "headline") for line in verdicts(result, own))
    yield Text(heading(result), "soft")
    yield from (Text(line) for line in remarks(result))
    for block in filter(None, (result, result["all_targets"])):
        yield Heading(TARGET_LABELS[block["targets"]].capitalize())
        yield methods_table(block, own)
        yield Figure(
            _gain_chart(block, own), f"Each system less {own}, paired by user: left of zero, {own} finds more."
        )
    yield budgets_table(result)
    yield Heading("By segment")
    yield segments_table(result)
    yield from _segment_figures(result)
    yield Heading("Interest health")
    yield Terms(health_facts(result))
    yield vectors_table(result)
    yield from _training_blocks(epochs)
    yield Heading("How to read this")
    yield Text(explain_figures(result))
    yield Terms(system_meanings(shown_systems(result)))
    yield Text(f"Served with {json.dumps(result['settings']['retrieve'])}", "soft")


def _gain_chart(block: dict[str, Any], own: str) -> Any:  # noqa: ANN401 (a chart of Altair, or None)
    key, systems = f"hr@{block['budget']}", informative_systems(block)
    rows = [
        {"name": m, "group": _BASELINE if m in BASELINES else _CONTROL} | negate(figures[key])
        for m, figures in block["differences"].items()
        if m in systems
    ]
    rows.sort(key=lambda row: -(row["mean"] or 0.0))
    return interval_chart(rows, f"HR@{block['budget']} − {own}", _LOOKS)


def _segment_figures(result: dict[str, Any]) -> Iterator[Figure]:
    """Yield the hit rate by segment, of the run and the main controls and baselines: a chart per segmentation."""
    key, baseline = f"hr@{result['budget']}", result.get("strongest_baseline") or "popularity"
    wanted = dict.fromkeys((result["method"], "unconditioned", "random_partition", baseline))
    looks = dict(zip([m for m in wanted if m in result["methods"]], _SEGMENT_LOOKS, strict=False))
    for name, segments in result["segments"].items():
        filled = {label: segment for label, segment in segments.items() if segment["targets"]}
        rows = [
            {"name": f"{label.replace('_', ' ')} ({segment['targets']:,})", "group": m} | segment["methods"][m][key]
            for label, segment in filled.items()
            for m in looks
        ]
        if len(filled) > 1:
            chart = interval_chart(rows, f"HR@{result['budget']}", looks, number_format=".2~f")
            yield Figure(chart, f"By {SEGMENTATION_LABELS[name]}; number of targets in brackets.")


def _training_blocks(epochs: list[dict[str, Any]]) -> Iterator[Block]:
    if not epochs:
        return
    best = max(epochs, key=lambda line: line["validation_hit_rate"])
    yield Heading("Training")
    yield Text(
        f"{amount(len(epochs), 'epoch')}, {epochs[-1]['seconds']:,.0f} s; best epoch {best['epoch']}"
        f" with validation HR@{best['validate_at']} {format_number(best['validation_hit_rate'])}.",
        "soft",
    )
    losses = [
        {"epoch": one["epoch"], "group": kind, "value": value} for one in epochs for kind, value in one["loss"].items()
    ]
    rates = [{"epoch": one["epoch"], "group": "all vectors", "value": one["validation_hit_rate"]} for one in epochs]
    for rows, title in ((losses, "loss"), (rates, f"validation HR@{best['validate_at']}")):
        yield Figure(line_chart(rows, "epoch", "value", ("epoch", title)), f"{title} by epoch".capitalize())
