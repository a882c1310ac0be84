"""``multitudes init``: a folder to start from."""

from pathlib import Path
from typing import Annotated

import typer


def command(folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to make; new or empty.")]) -> None:
    """Write a commented multitudes.toml and a small example.

    The example is in the canonical tables: events, items and users.
    """
    from multitudes.cli.sections import template
    from multitudes.data.address import refuse_address
    from multitudes.data.planted import PlantedConfig, plant, write
    from multitudes.errors import UsageError

    refuse_address(folder)
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise UsageError(f"{folder}: exists and is not empty; choose a new folder")
    settings = template()
    world = plant(PlantedConfig(users=500, items=600, events=20_000, niches=30, topics=12))
    write(world, folder / "data")
    (folder / "multitudes.toml").write_text(settings, encoding="utf-8")
    typer.echo(f"{folder}/multitudes.toml: every setting with its default and meaning")
    typer.echo(f"{folder}/data: events, items and users of a small planted world (500 users, three tastes each)")
    typer.echo(f"next: multitudes prepare {folder}/data --out {folder}/prepared --config {folder}/multitudes.toml")
