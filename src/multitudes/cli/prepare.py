"""``multitudes prepare``: check tables, and turn them into the arrays that training reads."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from multitudes.cli.import_files import prepare_words
from multitudes.cli.options import MapOption, SetOption, parse_overrides, reject_options
from multitudes.cli.output import config_words, print_json, print_next, print_table, unused_path
from multitudes.data.location import display_location, is_url
from multitudes.errors import UsageError
from multitudes.progress import ProgressBar

if TYPE_CHECKING:
    from collections.abc import Mapping

    from multitudes.data.engine_config import EngineConfig
    from multitudes.data.prepare import PrepareConfig
    from multitudes.data.prepared import PreparedData
    from multitudes.data.validate import ValidationReport

EngineOption = Annotated[
    str | None,
    typer.Option(help="duckdb: this machine; spark: a cluster (add-on multitudes-spark). The result is the same."),
]


def _print_report(data: str, report: "ValidationReport") -> None:
    from multitudes.data.clean.tables import repair_text
    from multitudes.data.validate import time_range_text

    typer.echo(data)
    print_table(_report_lines(report, time_range_text(report)))
    for name, count in report.repairs.items():
        typer.echo(f"repair: {repair_text(name, count)}")
    for warning in report.warnings:
        typer.echo(f"warning: {warning}")
    if not report.repairs and not report.warnings:
        typer.echo("nothing to repair")


def _report_lines(report: "ValidationReport", span: str) -> list[tuple[str, str]]:
    counts, per_user, shares = report.counts, report.events_per_user, report.shares
    lines = [
        ("rows", ", ".join(f"{table} {rows:,}" for table, rows in report.rows.items())),
        ("ids", ", ".join(f"{column} {kind}" for column, kind in report.id_kinds.items())),
        ("time", span),
        ("users", f"{counts['users']:,}; {shares['users_with_follows']:.1%} follow a topic"),
        ("items", f"{counts['items']:,}; {shares['items_with_topics']:.1%} have a topic"),
        ("topics", f"{counts['topics']:,}; {counts['follows']:,} follows"),
        ("embeddings", f"{counts['items_with_embedding']:,} items"),
        ("events", f"{counts['events']:,}; {counts['usable_events']:,} usable, {counts['negative_events']:,} negative"),
        ("per user", ", ".join(f"{name} {number:,.0f}" for name, number in per_user.items())),
        ("actions", ", ".join(f"{action} {count:,}" for action, count in report.actions.items())),
        ("of a topic", f"{shares['events_with_topics']:.1%} of events"),
        ("of a followed topic", f"{shares['events_of_followed_topics']:.1%} of events"),
        ("source logged", f"{counts['sourced_events']:,} events"),
    ]
    for table, nulls in report.missing.items():
        lines.append((f"nulls in {table}", ", ".join(f"{column} {count:,}" for column, count in nulls.items())))
    return lines


def prepare_command(
    data: Annotated[
        Path, typer.Argument(help="Folder with events, items and users (.parquet, .csv or .jsonl), or s3://…")
    ],
    out: Annotated[Path | None, typer.Option(help="Folder to write.")] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing: report on the tables, and on what would be repaired.")
    ] = False,
    config: Annotated[
        Path | None, typer.Option(help="TOML file with [prepare] and [engine]; the options below override it.")
    ] = None,
    overrides: SetOption = None,
    split: Annotated[
        Literal["time", "user", "leave_one_out"] | None, typer.Option(help="Rule to hold out events.")
    ] = None,
    follows_from_share: Annotated[
        float | None, typer.Option(help="Derive followed topics from this first share of each user's events.")
    ] = None,
    min_rating: Annotated[
        float | None, typer.Option(help="Events with lower ratings stay in the history but are not positives.")
    ] = None,
    events: Annotated[
        Path | None, typer.Option(help="More events: the events log of a service, or any events table.")
    ] = None,
    served: Annotated[
        Path | None,
        typer.Option(help="Served log of a service: attributes engagements to the topic that sourced them."),
    ] = None,
    served_within_s: Annotated[
        int, typer.Option(min=0, help="Attribute an engagement to an item served at most this many seconds before.")
    ] = 86_400,
    engine: EngineOption = None,
    master: Annotated[
        str | None, typer.Option(help="Spark master: local[2], spark://host:7077 …; implies --engine spark.")
    ] = None,
    append: Annotated[
        Path | None,
        typer.Option(help="Prepared folder of earlier days; the events of DATA are later ones and are appended."),
    ] = None,
    appendable: Annotated[
        bool,
        typer.Option(
            "--appendable", help="Keep the files that a later --append needs; after --append they are always kept."
        ),
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing prepared folder.")] = False,
    column_map: MapOption = None,
) -> None:
    """Turn tables into the arrays that training reads.

    It splits, numbers and orders the events. Equal input gives equal bytes. With --check it writes nothing and reports
    counts, time spans, missing values, and the repairs that it would make.
    """
    from multitudes.config import load_section, parse
    from multitudes.data.clean.attribution import FeedbackLogs
    from multitudes.data.column_names import parse_map
    from multitudes.data.prepare import PrepareConfig, prepare

    changes = parse_overrides(overrides, "prepare", "engine")
    options = {"split": split, "follows_from_share": follows_from_share, "min_rating": min_rating}
    given = {name: value for name, value in options.items() if value is not None}
    from_file = load_section(config, "prepare", PrepareConfig, changes)
    settings = parse(PrepareConfig, from_file.model_dump() | given, "options")
    columns, chosen = parse_map(column_map).columns, engine_config(config, engine, master, changes)
    if check == (out is not None):
        raise UsageError("give either --out FOLDER, or --check to write nothing")
    if out is None:
        unread = {"--events": events, "--served": served, "--append": append, "--appendable": appendable}
        reject_options("prepare --check", {**unread, "--overwrite": overwrite})
        words = _option_words({**options, "engine": engine, "master": master, "set": overrides, "map": column_map})
        _check_tables(data, settings, chosen, columns, [*words, *config_words(config)])
        return
    with ProgressBar("prepare") as progress:
        prepared = prepare(
            data,
            out,
            settings,
            progress,
            logs=FeedbackLogs(events, served, served_within_s),
            engine=chosen,
            append=append,
            appendable=appendable,
            overwrite=overwrite,
            columns=columns,
        )
    print_prepared(prepared)
    for warning in prepared.manifest["warnings"]:
        typer.echo(f"multitudes: warning: {warning}", err=True)
    print_json({"prepared": str(out), **prepared.manifest})
    print_next("train", out, "--out", unused_path(out.parent / "run"), *config_words(config))


def _check_tables(
    data: Path, settings: "PrepareConfig", engine: "EngineConfig", columns: "Mapping[str, str]", words: list[str]
) -> None:
    """Report on tables, without writing; ``words`` are the options that the next command gets."""
    from dataclasses import asdict

    from multitudes.data.validate import validate

    with ProgressBar("check") as progress:
        report = validate(data, settings, progress, engine=engine, columns=columns)
    _print_report(display_location(data), report)
    print_json({"data": display_location(data), **asdict(report)})
    folder = Path() if is_url(data) else data.parent
    words = words or prepare_words(data)
    print_next("prepare", display_location(data), "--out", unused_path(folder / "prepared"), *words)


def _option_words(options: "Mapping[str, object]") -> list[str]:
    """Return options as they are given; a list is given once for each of its values."""
    words: list[str] = []
    for name, value in options.items():
        for one in value if isinstance(value, list) else () if value is None else (value,):
            words += [f"--{name.replace('_', '-')}", str(one)]
    return words


def engine_config(
    config: Path | None, kind: str | None, master: str | None, overrides: "Mapping[str, Any]"
) -> "EngineConfig":
    """Return which SQL engine is asked for: by an option, or else by the file; a master is Spark's."""
    from multitudes.config import deep_merge, load_section, parse
    from multitudes.data.engine_config import EngineConfig

    from_file = load_section(config, "engine", EngineConfig, overrides)
    options: dict[str, Any] = {"kind": kind} if kind else {}
    options |= {"kind": "spark", "options": {"master": master}} if master else {}
    return parse(EngineConfig, deep_merge(from_file.model_dump(), options), "options") if options else from_file


def print_prepared(prepared: "PreparedData") -> None:
    """Print the counts of a prepared folder, and every repair."""
    from multitudes.data.clean.tables import repair_text

    counts = prepared.manifest["counts"]
    typer.echo(
        f"{prepared.path}: {counts['users']:,} users, {counts['items']:,} items, {counts['topics']:,} topics,"
        f" {counts['events']:,} events"
    )
    names = ("events", "users", "targets", "cold_targets", "tied_targets")
    rows = [[split, *(f"{counts[f'{split}_{name}']:,}" for name in names)] for split in ("train", "validation", "test")]
    numbers = ("events", "users", "targets", "cold", "tied")
    print_table(rows, (f"split '{prepared.manifest['config']['split']}'", *numbers), right=numbers)
    typer.echo(_positives_sentence(prepared))
    conditions = ", ".join(f"{name} {count:,}" for name, count in prepared.manifest["conditions"].items())
    typer.echo(f"training targets with a topic as condition: {conditions}")
    if sources := prepared.manifest.get("sources"):
        typer.echo(
            f"attribution of events: {sources['by_request']:,} by request id, {sources['by_newest']:,} by the newest"
            f" response before them, {sources['not_served']:,} not served; {sources['with_topic']:,} have a topic as"
            " source"
        )
    for name, count in prepared.manifest["repairs"].items():
        typer.echo(f"repair: {repair_text(name, count)}")


def _positives_sentence(prepared: "PreparedData") -> str:
    """Return how many events are positives, of which actions, and which actions are none."""
    import numpy as np

    actions = prepared.manifest["actions"]
    counts = np.bincount(prepared.event_action[prepared.event_weight > 0], minlength=len(actions) + 1)[1:]
    sentence = f"positives: {counts.sum():,} of {len(prepared.event_item):,} events"
    if len(actions) == 1:
        return sentence
    counted = [f"{name} {count:,}" for name, count in zip(actions, counts.tolist(), strict=True) if count]
    others = [name for name, count in zip(actions, counts.tolist(), strict=True) if not count]
    parts = [", ".join(listed[:8]) for listed in (counted, others)]
    return f"{sentence}: {parts[0] or 'none'}{f'; never: {parts[1]}' if others else ''}"
