"""``multitudes rollback``: let an older version serve."""

from pathlib import Path
from typing import Annotated

import typer

from multitudes.cli.output import print_json


def command(
    releases: Annotated[Path, typer.Argument(help="Folder of releases.")],
    to: Annotated[str | None, typer.Option(help="Version; by default the one before the current.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line.")] = False,
) -> None:
    """Let an older version serve, by one switch.

    Its files are verified before. Where its index is on a server, the alias moves too.
    """
    from multitudes.index.place import serve
    from multitudes.release.release import Release
    from multitudes.release.store import ReleaseStore

    store = ReleaseStore(releases)
    wanted = to or store.before()
    release = Release.open(store.folder(wanted))
    version = store.rollback(wanted)
    serve(release.index)
    typer.echo(f"{releases}: version {version} serves")
    if json:
        print_json({"releases": str(releases), "version": version})
