"""``multitudes prepare``: tables become the arrays that everything else reads."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from multitudes.cli.output import print_json, progress_bar

if TYPE_CHECKING:
    from collections.abc import Mapping

    from multitudes.data.prepare import PrepareConfig
    from multitudes.data.prepared import Prepared
    from multitudes.data.spark_config import SparkConfig


class SplitName(StrEnum):
    """The rules by which events are held out."""

    TIME = "time"
    USER = "user"
    LEAVE_ONE_OUT = "leave_one_out"


class EngineName(StrEnum):
    """What runs the SQL."""

    DUCKDB = "duckdb"
    SPARK = "spark"


class TieRule(StrEnum):
    """The orders of a user's events of one time."""

    FILE = "file"
    SHUFFLE = "shuffle"


def command(
    data: Annotated[
        Path, typer.Argument(help="Folder with events, items and users (.parquet, .csv or .jsonl), or s3://…")
    ],
    out: Annotated[Path, typer.Option(help="Folder to write.")],
    config: Annotated[
        Path | None, typer.Option(help="TOML file with [prepare]; the options below override it.")
    ] = None,
    split: Annotated[SplitName | None, typer.Option(help="How events are held out.")] = None,
    follows_from_share: Annotated[
        float | None, typer.Option(help="First share of each user's events that gave the follows.")
    ] = None,
    ties: Annotated[TieRule | None, typer.Option(help="Order of a user's events of one time.")] = None,
    events: Annotated[
        Path | None, typer.Option(help="More events: the folder of a service's events log, or any events table.")
    ] = None,
    served: Annotated[
        Path | None, typer.Option(help="Folder of a service's served log: tells which topic sourced an engagement.")
    ] = None,
    served_within_s: Annotated[
        int, typer.Option(min=0, help="An engagement comes of what was served at most so many seconds before.")
    ] = 86_400,
    engine: Annotated[EngineName, typer.Option(help="DuckDB on this machine, or Spark: the result is the same.")] = (
        EngineName.DUCKDB
    ),
    master: Annotated[
        str | None, typer.Option(help="Where Spark runs: local[2], spark://host:7077 …; implies --engine spark.")
    ] = None,
    append: Annotated[
        Path | None,
        typer.Option(help="Prepared folder of earlier days: the events given are later ones, put behind them."),
    ] = None,
    appendable: Annotated[
        bool, typer.Option("--appendable", help="Keep what a later --append needs; what was appended always does.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing prepared folder.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line.")] = False,
) -> None:
    """Turn tables into the arrays that training reads.

    The events are split, numbered and ordered; equal input gives equal bytes.
    """
    from multitudes.data.clean.sources import Logs
    from multitudes.data.prepare import prepare

    settings = _settings(config, {"split": split, "follows_from_share": follows_from_share, "ties": ties})
    with progress_bar("prepare") as progress:
        logs = Logs(events, served, served_within_s)
        spark = spark_settings(config, engine, master)
        prepared = prepare(
            data,
            out,
            settings,
            progress,
            logs=logs,
            spark=spark,
            append=append,
            appendable=appendable,
            overwrite=overwrite,
        )
    show(prepared)
    for warning in prepared.manifest["warnings"]:
        typer.echo(f"multitudes: warning: {warning}", err=True)
    if json:
        print_json({"prepared": str(out), **prepared.manifest})


def spark_settings(config: Path | None, engine: EngineName, master: str | None) -> "SparkConfig | None":
    """Return how Spark runs, or None where DuckDB does."""
    from multitudes.config import load_section, parse
    from multitudes.data.spark_config import SparkConfig

    from_file = load_section(config, "spark", SparkConfig)
    if engine is EngineName.DUCKDB and master is None:
        return None
    return parse(SparkConfig, from_file.model_dump() | ({"master": master} if master else {}), "options")


def _settings(config: Path | None, options: dict[str, object]) -> "PrepareConfig":
    from multitudes.config import load_section, parse
    from multitudes.data.prepare import PrepareConfig

    given = {name: str(value) if isinstance(value, StrEnum) else value for name, value in options.items()}
    given = {name: value for name, value in given.items() if value is not None}
    from_file = load_section(config, "prepare", PrepareConfig)
    return parse(PrepareConfig, {**from_file.model_dump(), **given}, "options")


def show(prepared: "Prepared") -> None:
    """Print what was prepared, and every repair."""
    from rich.console import Console
    from rich.table import Table

    from multitudes.data.repairs import sentence

    counts = prepared.manifest["counts"]
    typer.echo(
        f"{prepared.path}: {counts['users']:,} users, {counts['items']:,} items, {counts['topics']:,} topics,"
        f" {counts['events']:,} events"
    )
    table = Table(box=None, pad_edge=False)
    for column in (f"split '{prepared.manifest['config']['split']}'", "events", "users", "targets", "cold", "tied"):
        table.add_column(column, justify="left" if column.startswith("split") else "right")
    for part in ("train", "validation", "test"):
        cells = [counts[f"{part}_{name}"] for name in ("events", "users", "targets", "cold_targets", "tied_targets")]
        table.add_row(part, *(f"{cell:,}" for cell in cells))
    Console().print(table)
    conditions = ", ".join(f"{name} {count:,}" for name, count in prepared.manifest["conditions"].items())
    typer.echo(f"training targets with a topic as condition: {conditions}")
    if "sources" in prepared.manifest:
        typer.echo(_sources(prepared.manifest["sources"]))
    for name, count in prepared.manifest["repairs"].items():
        typer.echo(f"repair: {sentence(name, count)}")


def _sources(counts: "Mapping[str, int]") -> str:
    """Return which events found their source in what was served."""
    return (
        f"events that were served: {counts['by_request']:,} by the answer they name, {counts['by_newest']:,} by the"
        f" newest before them, {counts['not_served']:,} not at all; {counts['with_topic']:,} have a topic for source"
    )
