"""``multitudes readout``: what a real experiment says."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from multitudes.cli.output import print_json, progress_bar

if TYPE_CHECKING:
    from multitudes.readout.readout import Readout


def command(
    exposures: Annotated[
        Path, typer.Argument(help="Table of user_id, arm, timestamp; cohort and covariates, if there are.")
    ],
    outcomes: Annotated[Path, typer.Argument(help="Table of user_id, timestamp, metric, value.")],
    metric: Annotated[
        list[str] | None,
        typer.Option(
            help="saves: its sum per user; saves/sessions: a ratio of sums; may be given again. Default: all."
        ),
    ] = None,
    control: Annotated[
        str | None, typer.Option(help="The arm that others are compared with; default: control.")
    ] = None,
    ratio: Annotated[
        str | None, typer.Option(metavar="ARM=SHARE,…", help="Planned size of the arms, in any unit; default: equal.")
    ] = None,
    covariate: Annotated[
        list[str] | None,
        typer.Option(help="Column of EXPOSURES with numbers known before the exposure; may be given again."),
    ] = None,
    cuped: Annotated[
        bool, typer.Option("--cuped/--no-cuped", help="Take off what the metric before the exposure explains.")
    ] = True,
    winsorise: Annotated[
        float | None, typer.Option(help="Cut a user's sums to this quantile of all users, such as 0.999.")
    ] = None,
    window: Annotated[
        int | None, typer.Option(min=1, help="Count this many days since the exposure, of users who had them all.")
    ] = None,
    tightest_at: Annotated[
        int, typer.Option(min=2, help="Users, both arms together, at which sequential intervals are tightest.")
    ] = 10_000,
    keep_negative: Annotated[bool, typer.Option("--keep-negative", help="Values below zero count.")] = False,
    memory_limit: Annotated[str, typer.Option(help="Of the engine; more is spilled to the disk.")] = "1GB",
    threads: Annotated[int, typer.Option(min=0, help="0 takes every core.")] = 0,
    report: Annotated[Path | None, typer.Option(metavar="FILE.html", help="Write it as one HTML file too.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line.")] = False,
) -> None:
    """Say what an experiment moved, and for whom.

    Also what cannot be said yet: lifts with intervals for one planned look and for any number of looks, with users as
    units; whether the arms are as large as planned; cohorts; days since the exposure. A table is a file (.parquet,
    .csv, .jsonl, .duckdb) or a folder of Parquet parts.
    """
    from multitudes.cli.extras import require_report
    from multitudes.config import parse
    from multitudes.readout.config import ReadoutConfig
    from multitudes.readout.readout import read_out
    from multitudes.readout.record import record

    given = {
        "control": control,
        "metrics": tuple(metric or ()),
        "planned": _shares(ratio) if ratio else {},
        "covariates": tuple(covariate or ()),
        "cuped": cuped,
        "winsorise": winsorise,
        "window_days": window,
        "tightest_at": tightest_at,
        "keep_negative": keep_negative,
        "memory_limit": memory_limit,
        "threads": threads,
    }
    config = parse(ReadoutConfig, given, "readout")
    if report is not None:
        require_report()  # before the long work, not after it
    with progress_bar(f"readout {exposures.name}") as progress:
        found = read_out(exposures, outcomes, config, progress)
    _show(found)
    if report is not None:
        _write(found, report)
    if json:
        print_json(record(found))


def _shares(text: str) -> dict[str, float]:
    """Return ``control=9,new=1`` as a mapping.

    Raises:
        UsageError: it is not written like that.
    """
    from multitudes.errors import UsageError

    shares = {}
    for part in text.split(","):
        arm, _, share = part.rpartition("=")
        try:
            shares[arm.strip()] = float(share)
        except ValueError:
            raise UsageError(f"--ratio '{text}'; expected the share of each arm, such as control=9,new=1") from None
    return shares


def _show(found: "Readout") -> None:
    from rich.console import Console

    from multitudes.report.readout_tables import readout_tables

    console = Console()
    console.print(readout_tables(found, console.width))


def _write(found: "Readout", file: Path) -> None:
    from multitudes.report.readout_page import write_readout_report

    write_readout_report(found, file)
    typer.echo(f"{file}: {file.stat().st_size / 1024:.0f} KiB, opens in any browser")
