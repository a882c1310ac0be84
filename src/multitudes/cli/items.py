"""``multitudes items``: items come to the release that serves and leave it, without a new release."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from multitudes.cli.output import print_json, progress_bar

if TYPE_CHECKING:
    from multitudes.retrieval.item_updates import AddedItems


class ItemsAction(StrEnum):
    """What happens to the items."""

    ADD = "add"
    REMOVE = "remove"


def items_command(
    action: Annotated[ItemsAction, typer.Argument(help="Add the items, or replace those there; or remove them.")],
    releases: Annotated[Path, typer.Argument(help="Folder of releases.")],
    file: Annotated[Path, typer.Argument(help="Items as in a data set; to remove: a table with item_id.")],
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line.")] = False,
) -> None:
    """Add items to the release that serves, or remove some.

    Whoever serves it sees them within a second. The next publish takes them over.
    """
    from multitudes.retrieval.item_updates import add_items, remove_items

    if action is ItemsAction.ADD:
        with progress_bar("items") as progress:
            added = add_items(releases, file, progress)
        _print_added_items(releases, added)
        record, cut_bytes = added._asdict(), added.cut_bytes
    else:
        removed = remove_items(releases, file)
        typer.echo(f"{releases}: release {removed.version}, {removed.removed:,} items removed")
        record, cut_bytes = removed._asdict(), removed.cut_bytes
    if cut_bytes:
        typer.echo(f"multitudes: warning: {cut_bytes:,} bytes of an unfinished change were cut off", err=True)
    if json:
        print_json({"action": action.value, "releases": str(releases), **record})


def _print_added_items(releases: Path, added: "AddedItems") -> None:
    from multitudes.data.repairs import repair_text

    typer.echo(f"{releases}: release {added.version}, {added.new:,} items added, {added.replaced:,} replaced")
    for name, count in added.repairs.items():
        typer.echo(f"repair: {repair_text(name, count)}")
    if added.unknown_topics:
        typer.echo(f"{added.unknown_topics:,} topics are unknown to this release; the next one may know them")
    if added.unread_columns:
        names = ", ".join(added.unread_columns)
        typer.echo(f"this release also reads {names}, of which the file says nothing: unknown for all its items")
    if added.undescribed:
        typer.echo(
            f"{added.undescribed:,} items have no topic and no embedding that this release reads: little tells them"
            " apart, and a history does not count them"
        )
