"""``multitudes key``: an API key for the service, shown once."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from multitudes.cli.output import print_json


class KeyScope(StrEnum):
    """What a key may do."""

    READ = "read"
    WRITE = "write"
    ADMIN = "admin"


def command(
    name: Annotated[str, typer.Argument(help="Whose key it is; stands in the journal of the service.")],
    to: Annotated[Path, typer.Option(help="File of keys; made where it is not there.")],
    scope: Annotated[
        list[KeyScope] | None,
        typer.Option(help="read: recommend and look; write: events and follows; admin: forget. By default read."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line.")] = False,
) -> None:
    """Make an API key.

    The file holds its digest alone, so the key cannot be shown again. Remove its line, and it is no longer good.
    """
    from multitudes.service.keys import SCOPES, make_key

    wanted = {one.value for one in scope or [KeyScope.READ]}
    scopes = tuple(one for one in SCOPES if one in wanted)
    key = make_key(to, name, scopes)
    if json:
        print_json({"name": name, "scopes": list(scopes), "file": str(to), "key": key})
        return
    typer.echo(key)
    typer.echo(f"multitudes: key '{name}' with {', '.join(scopes)} is in {to}; it is not shown again", err=True)
