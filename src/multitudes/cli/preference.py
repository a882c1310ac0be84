"""``multitudes preference``: which of several interleaved arms users prefer."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from multitudes.cli.output import print_json, progress_bar

if TYPE_CHECKING:
    from multitudes.readout.preference import Preference


def command(
    credited: Annotated[
        Path, typer.Argument(help="Table of user_id, timestamp, arm (whose pick it was), metric, value.")
    ],
    metric: Annotated[
        list[str] | None, typer.Option(help="Such as saves; may be given again. Default: all that rows have.")
    ] = None,
    control: Annotated[
        str | None, typer.Option(help="The arm that others are compared with; default: control.")
    ] = None,
    tightest_at: Annotated[int, typer.Option(min=2, help="As for `readout`; a user is in both arms.")] = 10_000,
    memory_limit: Annotated[str, typer.Option(help="Of the engine; more is spilled to the disk.")] = "1GB",
    threads: Annotated[int, typer.Option(min=0, help="0 takes every core.")] = 0,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line.")] = False,
) -> None:
    """Say which of several interleaved arms users prefer.

    Lists in which each item is the pick of one arm (team draft) need far fewer users than arms of different users. A
    row credits the arm whose pick a user saved, clicked or hid. The lift is of credit: it has the sign of an A/B test,
    not its size. Users are the units.
    """
    from multitudes.config import parse
    from multitudes.readout.config import ReadoutConfig
    from multitudes.readout.preference import preferred

    given = {
        "control": control,
        "metrics": tuple(metric or ()),
        "tightest_at": tightest_at,
        "memory_limit": memory_limit,
        "threads": threads,
    }
    with progress_bar(f"preference {credited.name}") as progress:
        found = preferred(credited, parse(ReadoutConfig, given, "preference"), progress)
    _show(found)
    if json:
        from dataclasses import asdict

        print_json(asdict(found))


def _show(found: "Preference") -> None:
    from textwrap import fill

    from multitudes.data.repairs import sentence
    from multitudes.readout.repairs import REPAIRS
    from multitudes.readout.verdict import preferences

    for line in preferences(found):
        typer.echo(fill(line, 80, subsequent_indent="  "))
    for warning in found.warnings:
        typer.echo(f"warning: {warning}")
    for name, count in found.repairs.items():
        typer.echo(f"repair: {sentence(name, count, REPAIRS)}")
