"""``multitudes outcomes``: the logs of a service as the outcomes of an experiment.

``multitudes readout``: what a real experiment says.

``multitudes preference``: which of several interleaved arms users prefer.
"""

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from multitudes.cli.output import print_json, progress_bar


def outcomes_command(
    logs: Annotated[Path, typer.Argument(help="Folder of a service's logs: served and events within it.")],
    out: Annotated[Path, typer.Argument(help="Table to write, .parquet; `multitudes readout` reads it.")],
    items: Annotated[Path | None, typer.Option(help="Items table, for the metrics of topics.")] = None,
    save: Annotated[list[str] | None, typer.Option(help="Action that counts as a save; may be given again.")] = None,
    adopted: Annotated[int, typer.Option(min=1, help="Saves of a topic that make it adopted.")] = 3,
    since: Annotated[
        datetime | None,
        typer.Option(
            help="When the test began, UTC: adoption and activity count from then, and days begin at its hour; default:"
            " the first row, and midnight."
        ),
    ] = None,
    memory_limit: Annotated[str, typer.Option(help="Of the engine; more is spilled to the disk.")] = "1GB",
    threads: Annotated[int, typer.Option(min=0, help="0 takes every core.")] = 0,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line.")] = False,
) -> None:
    """Turn the logs of a service into outcomes.

    A row for each user, day and metric: visits, saves, saves in the feed and by what brought them, every other action,
    topics served, topics adopted.
    """
    from datetime import UTC

    from multitudes.config import parse
    from multitudes.data.location import reject_url
    from multitudes.experiments.log_outcomes import OutcomesConfig, write_log_outcomes

    reject_url(out)
    given = {
        "saves": tuple(save) if save else ("save",),
        "adopted": adopted,
        "since": None if since is None else int(since.replace(tzinfo=since.tzinfo or UTC).timestamp()),
        "memory_limit": memory_limit,
        "threads": threads,
    }
    written = write_log_outcomes(logs / "served", logs / "events", items, out, parse(OutcomesConfig, given, "outcomes"))
    typer.echo(f"{out}: {written.rows:,} outcomes of {written.users:,} users: {', '.join(written.metrics)}")
    if written.repeated:
        typer.echo(f"{written.repeated:,} events were sent again; each counts once")
    if json:
        print_json({"outcomes": str(out), **written._asdict()})


if TYPE_CHECKING:
    from multitudes.experiments.readout import Readout


def readout_command(
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
    from multitudes.experiments.config import ReadoutConfig
    from multitudes.experiments.readout import analyse_experiment
    from multitudes.experiments.summary import readout_record

    given = {
        "control": control,
        "metrics": tuple(metric or ()),
        "planned": _parse_shares(ratio) if ratio else {},
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
        found = analyse_experiment(exposures, outcomes, config, progress)
    _print_readout(found)
    if report is not None:
        _write_report(found, report)
    if json:
        print_json(readout_record(found))


def _parse_shares(text: str) -> dict[str, float]:
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


def _print_readout(found: "Readout") -> None:
    from rich.console import Console

    from multitudes.report.experiment_tables import experiment_tables

    console = Console()
    console.print(experiment_tables(found, console.width))


def _write_report(found: "Readout", file: Path) -> None:
    from multitudes.report.experiment_page import write_experiment_page

    write_experiment_page(found, file)
    typer.echo(f"{file}: {file.stat().st_size / 1024:.0f} KiB, opens in any browser")


if TYPE_CHECKING:
    from multitudes.experiments.interleaving import InterleavingResult


def preference_command(
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
    from multitudes.experiments.config import ReadoutConfig
    from multitudes.experiments.interleaving import analyse_interleaving

    given = {
        "control": control,
        "metrics": tuple(metric or ()),
        "tightest_at": tightest_at,
        "memory_limit": memory_limit,
        "threads": threads,
    }
    with progress_bar(f"preference {credited.name}") as progress:
        found = analyse_interleaving(credited, parse(ReadoutConfig, given, "preference"), progress)
    _print_preference(found)
    if json:
        from dataclasses import asdict

        print_json(asdict(found))


def _print_preference(found: "InterleavingResult") -> None:
    from textwrap import fill

    from multitudes.data.repairs import repair_text
    from multitudes.experiments.summary import REPAIRS, interleaving_verdict

    for line in interleaving_verdict(found):
        typer.echo(fill(line, 80, subsequent_indent="  "))
    for warning in found.warnings:
        typer.echo(f"warning: {warning}")
    for name, count in found.repairs.items():
        typer.echo(f"repair: {repair_text(name, count, REPAIRS)}")
