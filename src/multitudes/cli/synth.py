"""``multitudes synth``: tables of any size whose truth is known, to try how the rest scales."""

from pathlib import Path
from typing import Annotated

import typer

from multitudes.cli.output import print_json, progress_bar


def command(
    out: Annotated[Path, typer.Argument(help="Folder to write: events in parts, items, users, the truth.")],
    events: Annotated[int, typer.Option(help="How many events.")] = 1_000_000,
    users: Annotated[int | None, typer.Option(help="How many users; default: one for 50 events.")] = None,
    items: Annotated[int | None, typer.Option(help="How many items; default: one for 100 events.")] = None,
    topics: Annotated[int | None, typer.Option(help="How many topics; default: 200, or as many as items.")] = None,
    days: Annotated[int, typer.Option(help="Length of time.")] = 90,
    tastes: Annotated[int, typer.Option(help="Topics that each user likes; 1 is the control.")] = 3,
    zipf: Annotated[float, typer.Option(help="Exponent of the items' popularity; 0: all are equal.")] = 1.0,
    seed: Annotated[int, typer.Option(help="Seed of every draw.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a folder that synth wrote.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line.")] = False,
) -> None:
    """Make tables of any size whose truth is known.

    Each user holds a few tastes, some items are far more popular than others, some users do far more than others.
    """
    from multitudes.config import parse
    from multitudes.data.synth import SynthConfig, synth

    n_items = max(1, events // 100) if items is None else items
    given = {
        "events": events,
        "users": max(1, events // 50) if users is None else users,
        "items": n_items,
        "topics": max(1, min(200, n_items)) if topics is None else topics,
        "days": days,
        "tastes": tastes,
        "zipf": zipf,
        "seed": seed,
    }
    with progress_bar("synth") as progress:
        world = synth(out, parse(SynthConfig, given, "options"), progress, overwrite=overwrite)
    config = world.config
    typer.echo(
        f"{out}: {config.events:,} events in {world.parts:,} parts, {config.users:,} users with {config.tastes} tastes"
        f" each, {config.items:,} items of {config.topics:,} topics"
    )
    if json:
        print_json({"out": str(out), "parts": world.parts, **config.model_dump(mode="json")})
