"""``multitudes import``: a person's own files become the tables that ``multitudes prepare`` reads."""

import json
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from multitudes.cli.options import MapOption
from multitudes.cli.output import print_json, print_next, print_table, unused_path
from multitudes.progress import ProgressBar, amount, shorten

if TYPE_CHECKING:
    from multitudes.data.importing.columns import ColumnGuess
    from multitudes.data.importing.importer import ImportReport


def import_command(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE",
            help="Events: Parquet, CSV, other separated text or JSON lines, also compressed with gzip or zstd.",
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder to write.")],
    items: Annotated[list[Path] | None, typer.Option(help="File of items: their topics and titles.")] = None,
    users: Annotated[
        list[Path] | None,
        typer.Option(help="File of users and followed topics: a list for each user, or a row for each pair."),
    ] = None,
    column_map: MapOption = None,
    separator: Annotated[
        str | None, typer.Option(help="Separator of columns: ';', '::', tab …; default: detected.")
    ] = None,
    encoding: Annotated[str | None, typer.Option(help="Encoding: utf-16, latin-1 …; default: detected.")] = None,
    time_format: Annotated[
        str | None, typer.Option(help="Format of times for strftime: '%d/%m/%Y'; default: detected.")
    ] = None,
    list_separator: Annotated[
        str | None, typer.Option(help="Separator of topics: '|', ',' …; none: each value is one; default: detected.")
    ] = None,
    file_order: Annotated[
        bool, typer.Option("--file-order", help="There are no times; each user's rows are in the order of events.")
    ] = False,
    max_dropped: Annotated[
        float, typer.Option(min=0, max=1, help="Share of a file's rows that may be left out.")
    ] = 0.1,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a folder that import wrote.")] = False,
) -> None:
    """Turn your own files into the tables that prepare reads.

    Columns are guessed by name, type and content, and the guess is shown. Rows that cannot be used are written beside
    the output with their lines and reasons.
    """
    from multitudes.config import parse
    from multitudes.data.column_names import parse_map
    from multitudes.data.importing.config import ImportConfig
    from multitudes.data.importing.importer import import_files

    settings = {name: value for name, value in locals().items() if name in ImportConfig.model_fields}
    columns = parse_map(column_map).columns
    config = parse(ImportConfig, settings, "options")
    with ProgressBar("import") as progress:

        def show(guesses: "Sequence[ColumnGuess]") -> None:
            progress.close()  # what is printed has lines of its own
            _print_guesses(guesses)

        report = import_files(
            files,
            out,
            config,
            progress,
            items=items or (),
            users=users or (),
            columns=columns,
            overwrite=overwrite,
            show=show,
        )
    _print_report(report)
    print_json(report.record())
    print_next("prepare", out, "--out", unused_path(out.parent / "prepared"), *prepare_words(out))


def _print_guesses(guesses: "Sequence[ColumnGuess]") -> None:
    for guess in guesses:
        if guess.describes_items:
            typer.echo(f"{guess.source.name} also describes its items:")
        else:
            typer.echo(f"{guess.source.name}: {guess.source.rows:,} rows of {guess.table} ({guess.source.read_as})")
        rows = [[f" {column}", name, guess.formats[name].name] for name, column in guess.columns.items()]
        rows += [[f" {column}", f"feature '{name}'"] for name, column in guess.features.items()]
        print_table(rows, (" column", "becomes", "written as"))
        if guess.unused:
            typer.echo(f" not used: {shorten(', '.join(guess.unused), 200)}")
    if not any("topics" in guess.columns for guess in guesses):
        typer.echo("no topics, so interests have no names; --map COLUMN=topics names a column of categories")
    typer.echo("to change this: --map COLUMN=OURS, such as --map userId=user_id; --map COLUMN= leaves one out\n")


def _print_report(report: "ImportReport") -> None:
    from multitudes.data.importing.importer import FEW_ITEMS, reason_text
    from multitudes.data.prepare import PrepareConfig

    typer.echo(f"{report.out}: {', '.join(f'{rows:,} {table}' for table, rows in report.rows.items())}")
    if report.days is not None and not "1985" <= report.days[0] <= report.days[1] <= str(date.today()):
        typer.echo(f"times: {' to '.join(report.days)}, not all of 1985 to today; --map and --time-format change this")
    for dropped in report.dropped:
        typer.echo(f"left out of {dropped.file}: {shorten(reason_text(dropped), 200)}")
    if report.dropped_file is not None:
        typer.echo(f"left out: every row with its reason is in {report.dropped_file}")
    if report.merged:
        typer.echo(f"merged: {amount(report.merged, 'row')} with another row of the same id")
    if report.known_share < 1:
        typer.echo(f"items: {report.known_share:.1%} of the events are of an item in the items table")
    topics, rare = report.topics
    if 2 * rare > topics:
        few = f"{rare:,} of {topics:,} have fewer than {FEW_ITEMS} items"
        typer.echo(f"topics: {few}; prepare --set prepare.min_topic_items={FEW_ITEMS} leaves these out")
    never = PrepareConfig().negative_actions
    alike = [f"{action} {n:,}" for action, n in report.actions.items() if action not in never]
    if len(alike) > 1:
        option, named = "--set 'prepare.positive_actions={NAME=WEIGHT}'", shorten(", ".join(alike), 200)
        typer.echo(f"actions: {named} count alike as positives; prepare {option} gives each a weight")
    if report.ratings is not None:
        typer.echo(_ratings_sentence(report.ratings, report.min_rating))


def _ratings_sentence(ratings: "Mapping[str, float]", min_rating: float | None) -> str:
    """Return what the ratings are, and what follows from them."""
    span = f"ratings: {ratings['lowest']:g} to {ratings['highest']:g}, {ratings['mean']:.1f} on average"
    if min_rating is None:
        return f"{span}; every event counts as liked, unless prepare has --min-rating"
    return (
        f"{span}; {ratings['liked']:.0%} are {min_rating:g} or more. With --min-rating {min_rating:g} only these count"
        " as liked, without it every event does"
    )


def prepare_words(data: Path) -> list[str]:
    """Return the options of prepare that suit the tables that import wrote; none for other tables."""
    from multitudes.data.importing.importer import MARKER

    if not (data / MARKER).is_file():
        return []
    report = json.loads((data / MARKER).read_bytes())
    words = [] if report["split"] == "time" else ["--split", report["split"]]
    return words if report["min_rating"] is None else [*words, "--min-rating", f"{report['min_rating']:g}"]
