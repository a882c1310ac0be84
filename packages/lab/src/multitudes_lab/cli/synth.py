"""``multitudes synth``: synthetic tables of any size."""

from pathlib import Path
from typing import Annotated

import typer

from multitudes.cli.output import print_json, print_next, unused_path
from multitudes.progress import ProgressBar


def synth_command(
    out: Annotated[Path, typer.Argument(help="Folder to write: events, items, users and their true tastes.")],
    events: Annotated[int, typer.Option(help="Number of events.")] = 1_000_000,
    users: Annotated[int | None, typer.Option(help="Number of users; default: one for 50 events.")] = None,
    items: Annotated[int | None, typer.Option(help="Number of items; default: one for 100 events.")] = None,
    topics: Annotated[int | None, typer.Option(help="Number of topics; default: 200, or as many as items.")] = None,
    days: Annotated[int, typer.Option(help="Days that the events span.")] = 90,
    tastes: Annotated[int, typer.Option(help="Topics that each user likes; 1: the control.")] = 3,
    zipf: Annotated[float, typer.Option(help="Exponent of the items' popularity; 0: all are equal.")] = 1.0,
    seed: Annotated[int, typer.Option(help="Seed of all random draws.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a folder that synth wrote.")] = False,
) -> None:
    """Write synthetic tables of any size with known tastes.

    Each user has a few tastes. Items differ in popularity, and users in activity.
    """
    from multitudes.config import parse
    from multitudes_lab.synthetic import SynthConfig, write_synthetic_tables

    users = max(1, events // 50) if users is None else users
    items = max(1, events // 100) if items is None else items
    topics = max(1, min(200, items)) if topics is None else topics
    settings = {name: value for name, value in locals().items() if name in SynthConfig.model_fields}
    with ProgressBar("synth") as progress:
        world = write_synthetic_tables(out, parse(SynthConfig, settings, "options"), progress, overwrite=overwrite)
    config = world.config
    typer.echo(
        f"{out}: {config.events:,} events in {world.n_shards:,} files, {config.users:,} users with {config.tastes}"
        f" tastes each, {config.items:,} items of {config.topics:,} topics"
    )
    print_json({"out": str(out), "parts": world.n_shards, **config.model_dump(mode="json")})
    print_next("prepare", out, "--out", unused_path(out.parent / "prepared"))
