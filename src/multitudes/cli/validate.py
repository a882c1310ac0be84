"""``multitudes validate``: what is in a folder of tables, and what is wrong with it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from multitudes.cli.output import print_json, progress_bar
from multitudes.cli.prepare import EngineName, spark_settings

if TYPE_CHECKING:
    from multitudes.data.validate import Report


def command(
    data: Annotated[
        Path, typer.Argument(help="Folder with events, items and users (.parquet, .csv or .jsonl), or s3://…")
    ],
    config: Annotated[Path | None, typer.Option(help="TOML file with [prepare] and [spark].")] = None,
    engine: Annotated[EngineName, typer.Option(help="DuckDB on this machine, or Spark: the result is the same.")] = (
        EngineName.DUCKDB
    ),
    master: Annotated[
        str | None, typer.Option(help="Where Spark runs: local[2], spark://host:7077 …; implies --engine spark.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line.")] = False,
) -> None:
    """Check tables and report on them; nothing is written.

    Counts, spans, what is missing and what would be repaired.
    """
    from dataclasses import asdict

    from multitudes.config import load_section
    from multitudes.data.address import shown
    from multitudes.data.prepare import PrepareConfig
    from multitudes.data.validate import validate

    settings = load_section(config, "prepare", PrepareConfig)
    with progress_bar("validate") as progress:
        report = validate(data, settings, progress, spark=spark_settings(config, engine, master))
    _show(shown(data), report)
    if json:
        print_json({"data": shown(data), **asdict(report)})


def _show(data: str, report: "Report") -> None:
    from rich.console import Console
    from rich.table import Table

    from multitudes.data.repairs import sentence
    from multitudes.data.validate import span

    table = Table(title=data, title_justify="left", show_header=False, box=None, pad_edge=False)
    for name, text in _lines(report, span(report)):
        table.add_row(name, text)
    Console().print(table)
    for name, count in report.repairs.items():
        typer.echo(f"repair: {sentence(name, count)}")
    for warning in report.warnings:
        typer.echo(f"warning: {warning}")
    if not report.repairs and not report.warnings:
        typer.echo("nothing to repair")


def _lines(report: "Report", span: str) -> list[tuple[str, str]]:
    counts, spread, shares = report.counts, report.events_per_user, report.shares
    lines = [
        ("rows", ", ".join(f"{table} {rows:,}" for table, rows in report.rows.items())),
        ("ids", ", ".join(f"{column} {kind}" for column, kind in report.id_kinds.items())),
        ("time", span),
        ("users", f"{counts['users']:,}; {shares['users_with_follows']:.1%} follow a topic"),
        ("items", f"{counts['items']:,}; {shares['items_with_topics']:.1%} have a topic"),
        ("topics", f"{counts['topics']:,}; {counts['follows']:,} follows"),
        ("embeddings", f"{counts['items_with_embedding']:,} items"),
        ("events", f"{counts['events']:,}; {counts['usable_events']:,} usable, {counts['negative_events']:,} negative"),
        ("per user", ", ".join(f"{name} {number:,.0f}" for name, number in spread.items())),
        ("actions", ", ".join(f"{action} {count:,}" for action, count in report.actions.items())),
        ("of a topic", f"{shares['events_with_topics']:.1%} of events"),
        ("of a followed topic", f"{shares['events_of_followed_topics']:.1%} of events"),
        ("source logged", f"{counts['sourced_events']:,} events"),
    ]
    for table, nulls in report.missing.items():
        lines.append((f"nulls in {table}", ", ".join(f"{column} {count:,}" for column, count in nulls.items())))
    return lines
