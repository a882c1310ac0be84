"""``multitudes items``: add items to the current release, or remove some, without a new release."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from multitudes.cli.output import counted, print_json
from multitudes.data.repairs import repair_text
from multitudes.progress import ProgressBar

if TYPE_CHECKING:
    from multitudes.retrieval.item_updates import AddedItems


def items_command(
    action: Annotated[Literal["add", "remove"], typer.Argument(help="Add or replace the items, or remove them.")],
    releases: Annotated[Path, typer.Argument(help="Folder of releases.")],
    file: Annotated[Path, typer.Argument(help="Items table, as in a data set; to remove: a table with item_id.")],
) -> None:
    """Add items to the current release, or remove some.

    A service that runs sees the update within a second. The next publish takes it over.
    """
    from multitudes.retrieval.item_updates import add_items, remove_items

    if action == "add":
        with ProgressBar("items") as progress:
            added = add_items(releases, file, progress)
        _print_added_items(releases, added)
        record, cut_bytes = added._asdict(), added.cut_bytes
    else:
        removed = remove_items(releases, file)
        typer.echo(f"{releases}: release {removed.version}, {counted(removed.removed, 'item')} removed")
        record, cut_bytes = removed._asdict(), removed.cut_bytes
    if cut_bytes:
        typer.echo(f"multitudes: warning: cut off an unfinished update of {counted(cut_bytes, 'byte')}", err=True)
    print_json({"action": action, "releases": str(releases), **record})


def _print_added_items(releases: Path, added: "AddedItems") -> None:
    typer.echo(f"{releases}: release {added.version}, {counted(added.new, 'item')} added, {added.replaced:,} replaced")
    for name, count in added.repairs.items():
        typer.echo(f"repair: {repair_text(name, count)}")
    if added.unknown_topics:
        typer.echo(f"unknown to this release: {counted(added.unknown_topics, 'topic')}; the next one may know them")
    if added.unread_columns:
        names = ", ".join(added.unread_columns)
        typer.echo(f"this release also reads {names}; the file lacks it, so it is unknown for all items")
    if added.undescribed:
        typer.echo(
            f"with neither a topic nor an embedding that this release reads: {counted(added.undescribed, 'item')}; such"
            " vectors hardly differ, and are not used in histories"
        )
