"""``multitudes report``: an evaluated run as one HTML file."""

from pathlib import Path
from typing import Annotated

import typer

from multitudes.cli.evaluate import SplitName
from multitudes.cli.output import print_json


def command(
    run: Annotated[Path, typer.Argument(help="Run folder that `multitudes evaluate` was run on.")],
    out: Annotated[Path | None, typer.Option(help="HTML file to write; default: RUN/report.html.")] = None,
    split: Annotated[SplitName, typer.Option(help="Which evaluation is shown.")] = SplitName.TEST,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line.")] = False,
) -> None:
    """Write an evaluated run as one self-contained HTML file.

    It holds figures, segments, sample users and training curves.
    """
    from multitudes.report.page import write_report

    file = out or run / "report.html"
    write_report(run, file, split.value)
    typer.echo(f"{file}: {file.stat().st_size / 1024:.0f} KiB, opens in any browser")
    if json:
        print_json({"run": str(run), "report": str(file), "bytes": file.stat().st_size})
