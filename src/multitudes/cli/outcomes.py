"""``multitudes outcomes``: the logs of a service as the outcomes of an experiment."""

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from multitudes.cli.output import print_json


def command(
    logs: Annotated[Path, typer.Argument(help="Folder of a service's logs: served and events within it.")],
    out: Annotated[Path, typer.Argument(help="Table to write, .parquet; `multitudes readout` reads it.")],
    items: Annotated[Path | None, typer.Option(help="Items table, for the metrics of topics.")] = None,
    save: Annotated[list[str] | None, typer.Option(help="Action that counts as a save; may be given again.")] = None,
    adopted: Annotated[int, typer.Option(min=1, help="Saves of a topic that make it adopted.")] = 3,
    since: Annotated[
        datetime | None,
        typer.Option(
            help="When the test began, UTC: adoption and activity count from then, and days begin at its hour; default:"
            " the first row, and midnight."
        ),
    ] = None,
    memory_limit: Annotated[str, typer.Option(help="Of the engine; more is spilled to the disk.")] = "1GB",
    threads: Annotated[int, typer.Option(min=0, help="0 takes every core.")] = 0,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line.")] = False,
) -> None:
    """Turn the logs of a service into outcomes.

    A row for each user, day and metric: visits, saves, saves in the feed and by what brought them, every other action,
    topics served, topics adopted.
    """
    from datetime import UTC

    from multitudes.config import parse
    from multitudes.data.address import refuse_address
    from multitudes.readout.logged import OutcomesConfig, outcomes_of

    refuse_address(out)
    given = {
        "saves": tuple(save) if save else ("save",),
        "adopted": adopted,
        "since": None if since is None else int(since.replace(tzinfo=since.tzinfo or UTC).timestamp()),
        "memory_limit": memory_limit,
        "threads": threads,
    }
    written = outcomes_of(logs / "served", logs / "events", items, out, parse(OutcomesConfig, given, "outcomes"))
    typer.echo(f"{out}: {written.rows:,} outcomes of {written.users:,} users: {', '.join(written.metrics)}")
    if written.repeated:
        typer.echo(f"{written.repeated:,} events were sent again; each counts once")
    if json:
        print_json({"outcomes": str(out), **written._asdict()})
