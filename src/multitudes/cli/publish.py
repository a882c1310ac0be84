"""``multitudes publish``: a run becomes the release that serves."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from multitudes.cli.output import print_json, progress_bar

if TYPE_CHECKING:
    from multitudes.publish.publish import Published


def command(
    run: Annotated[Path, typer.Argument(help="Folder written by `multitudes train`.")],
    to: Annotated[Path, typer.Option(help="Folder of releases; made when missing.")],
    config: Annotated[Path | None, typer.Option(help="TOML file with [index] and [retrieve].")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line.")] = False,
) -> None:
    """Make a run the release that serves.

    The release is written aside, checked against the model and made visible by one switch.
    """
    from multitudes.cli.extras import require_torch_for

    require_torch_for(run)
    from multitudes.config import load_section
    from multitudes.index.build import IndexConfig
    from multitudes.publish.publish import publish
    from multitudes.retrieve.plan import RetrieveConfig

    retrieve, index = load_section(config, "retrieve", RetrieveConfig), load_section(config, "index", IndexConfig)
    with progress_bar("publish") as progress:
        done = publish(run, to, retrieve=retrieve, index=index, progress=progress)
    show(to, done)
    if json:
        print_json(
            {
                "version": done.version,
                "releases": str(to),
                "index": done.index_info,
                "checked_users": done.checked_users,
                "largest_difference": done.largest_difference,
                "carried_items": done.carried_items,
                "waiting_items": done.waiting_items,
                "removed_items": done.removed_items,
            }
        )


def show(to: Path, done: "Published") -> None:
    """Print what serves now, and how near its tower is to the model."""
    typer.echo(
        f"{to}: version {done.version} serves; {done.index_info['kind']} index of {done.index_info['items']:,} items;"
        f" tower equal to the model within {done.largest_difference:.0e} on {done.checked_users:,} users"
    )
    if done.carried_items or done.removed_items:
        typer.echo(f"taken over: {done.carried_items:,} items that came, {done.removed_items:,} that were removed")
    if done.waiting_items:
        typer.echo(f"{done.waiting_items:,} items that came have no vector in this release; a later one may take them")
