"""``multitudes init``: a configuration with every setting, and small example tables."""

from pathlib import Path
from typing import Annotated

import typer

from multitudes.cli.output import print_json, print_next
from multitudes.data.location import reject_url
from multitudes.errors import UsageError


def init_command(folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to write; new or empty.")]) -> None:
    """Write a commented multitudes.toml and example tables.

    The tables are events, items and users, in the columns that `multitudes prepare` reads.
    """
    from multitudes.config_template import config_template
    from multitudes.data.planted import PlantedConfig, plant, write_world

    reject_url(folder)
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise UsageError(f"{folder}: exists and is not empty; choose a new folder")
    settings = config_template()
    world = plant(PlantedConfig(users=500, items=600, events=20_000, niches=30, topics=12))
    write_world(world, folder / "data")
    (folder / "multitudes.toml").write_text(settings, encoding="utf-8")
    typer.echo(f"{folder}/multitudes.toml: every setting with its default and meaning")
    typer.echo(f"{folder}/data: events, items and users of a small planted world (500 users, three tastes each)")
    print_json({"folder": str(folder)})
    print_next("prepare", folder / "data", "--out", folder / "prepared", "--config", folder / "multitudes.toml")
