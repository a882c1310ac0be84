"""``multitudes export``: results for the next system, as JSON lines or flat Parquet."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from multitudes.cli.output import print_json


class What(StrEnum):
    """What can be exported."""

    RESULTS = "results"


def command(
    what: Annotated[What, typer.Argument(help="What to export.")],
    source: Annotated[Path, typer.Argument(help="Folder written by `multitudes recommend --all --out`.")],
    to: Annotated[Path, typer.Option(help=".jsonl: one user a line; .parquet: one candidate a row.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing file.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line.")] = False,
) -> None:
    """Write results as JSON lines or flat Parquet.

    JSON lines hold one user a line, Parquet one candidate a row.
    """
    from multitudes.bulk.export import export_results
    from multitudes.errors import UsageError

    if to.exists() and not overwrite:
        raise UsageError(f"{to}: exists; give another name or --overwrite")
    rows = export_results(source, to)
    typer.echo(f"{to}: {rows:,} rows")
    if json:
        print_json({"what": what.value, "source": str(source), "to": str(to), "rows": rows})
