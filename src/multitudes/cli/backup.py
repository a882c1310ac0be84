"""``multitudes backup`` and ``restore``: the data folder of a service."""

from pathlib import Path
from typing import Annotated

import typer

from multitudes.cli.output import print_json


def backup_command(
    data: Annotated[Path, typer.Argument(help="Data folder of the service, by default RELEASES.service.")],
    to: Annotated[Path, typer.Option(help="Folder of the backup; must not exist.")],
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line.")] = False,
) -> None:
    """Back up the user states and the logs.

    The service may run: nothing waits for it, erasure included. A Redis server is backed up by its own means.
    """
    from multitudes.service.backup import back_up

    result = back_up(data, to)
    state = "the user states" if result.state else "no user states (they are not in the folder: back up their server)"
    typer.echo(f"{to}: {state} and {result.log_files:,} files of the logs")
    if json:
        print_json({"data": str(data), "to": str(to), **result._asdict()})


def restore_command(
    backup: Annotated[Path, typer.Argument(help="Folder written by `multitudes backup`.")],
    data: Annotated[Path, typer.Argument(help="Data folder of the service, which must not run.")],
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line.")] = False,
) -> None:
    """Restore a backup of the user states and the logs.

    Keep the file `forgotten` of the data folder: users who asked to be erased after the backup do not come back then.
    """
    from multitudes.service.backup import restore

    result = restore(backup, data)
    typer.echo(f"{data}: {result.segments:,} segments, {result.erased_rows:,} rows of erased users left out")
    if json:
        print_json({"backup": str(backup), "data": str(data), **result._asdict()})
