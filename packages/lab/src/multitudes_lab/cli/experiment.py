"""``multitudes outcomes``, ``readout`` and ``preference``: from service logs to what an experiment changed."""

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from multitudes.cli.output import print_json
from multitudes.progress import ProgressBar


def outcomes_command(
    logs: Annotated[Path, typer.Argument(help="Folder of the logs of a service, with served/ and events/.")],
    out: Annotated[Path, typer.Argument(help="Table to write, .parquet; `multitudes readout` reads it.")],
    items: Annotated[Path | None, typer.Option(help="Items table, for metrics of topics.")] = None,
    save: Annotated[list[str] | None, typer.Option(help="Action that counts as a save; repeatable.")] = None,
    adopted: Annotated[int, typer.Option(min=1, help="Saves of a topic that make it adopted.")] = 3,
    since: Annotated[
        datetime | None,
        typer.Option(
            help="Start of the experiment, UTC: adoption and activity count from then, and days begin at its hour;"
            " default: the first row, and midnight."
        ),
    ] = None,
    memory_limit: Annotated[str, typer.Option(help="Memory limit of DuckDB; it spills the rest to disk.")] = "1GB",
) -> None:
    """Turn the logs of a service into outcomes.

    The table has a row for each user, day and metric: visits, saves, saves in the feed and by source, every other
    action, topics served, topics adopted.
    """
    from datetime import UTC

    from multitudes.config import parse
    from multitudes.data.location import reject_url
    from multitudes_lab.experiments.log_outcomes import OutcomesConfig, write_log_outcomes

    reject_url(out)
    settings = {
        "saves": tuple(save) if save else ("save",),
        "adopted": adopted,
        "since": None if since is None else int(since.replace(tzinfo=since.tzinfo or UTC).timestamp()),
        "memory_limit": memory_limit,
    }
    config = parse(OutcomesConfig, settings, "outcomes")
    summary = write_log_outcomes(logs / "served", logs / "events", items, out, config)
    typer.echo(f"{out}: {summary.rows:,} outcomes of {summary.users:,} users: {', '.join(summary.metrics)}")
    if summary.repeated:
        typer.echo(f"{summary.repeated:,} events were sent more than once; each counts once")
    print_json({"outcomes": str(out), **summary._asdict()})


def readout_command(
    exposures: Annotated[
        Path, typer.Argument(help="Table of user_id, arm, timestamp; optionally cohort and covariates.")
    ],
    outcomes: Annotated[Path, typer.Argument(help="Table of user_id, timestamp, metric, value.")],
    metric: Annotated[
        list[str] | None,
        typer.Option(help="saves: its sum per user; saves/sessions: a ratio of sums; repeatable. Default: all."),
    ] = None,
    control: Annotated[str | None, typer.Option(help="Name of the control arm; default: control.")] = None,
    ratio: Annotated[
        str | None, typer.Option(metavar="ARM=SHARE,…", help="Planned sizes of the arms, in any unit; default: equal.")
    ] = None,
    covariate: Annotated[
        list[str] | None,
        typer.Option(help="Numeric column of EXPOSURES that is known before the exposure; repeatable."),
    ] = None,
    cuped: Annotated[
        bool, typer.Option("--cuped/--no-cuped", help="Adjust for the same metric before the exposure (CUPED).")
    ] = True,
    winsorise: Annotated[
        float | None, typer.Option(help="Clip the sums of users at this quantile of all users, such as 0.999.")
    ] = None,
    window: Annotated[
        int | None, typer.Option(min=1, help="Count this many days since exposure, of users observed for all of them.")
    ] = None,
    tightest_at: Annotated[
        int, typer.Option(min=2, help="Users, both arms together, at which sequential intervals are tightest.")
    ] = 10_000,
    keep_negative: Annotated[bool, typer.Option("--keep-negative", help="Count values below zero.")] = False,
    memory_limit: Annotated[str, typer.Option(help="Memory limit of DuckDB; it spills the rest to disk.")] = "1GB",
    report: Annotated[Path | None, typer.Option(metavar="FILE.html", help="Also write one HTML file.")] = None,
) -> None:
    """Report what an experiment changed, and for whom.

    It reports lifts with intervals for one planned look and for any number of looks, with users as units; whether the
    arms have their planned sizes; cohorts; days since the exposure; and what is not shown yet. A table is a file
    (.parquet, .csv, .jsonl, .duckdb) or a folder of Parquet files.
    """
    from rich.console import Console

    from multitudes.config import parse
    from multitudes.extras import require_extra
    from multitudes_lab.experiments.config import ReadoutConfig
    from multitudes_lab.experiments.readout import analyse_experiment
    from multitudes_lab.experiments.summary import readout_record
    from multitudes_lab.report.experiment_tables import experiment_tables

    settings = {name: value for name, value in locals().items() if name in ReadoutConfig.model_fields}
    settings |= {"metrics": tuple(metric or ()), "covariates": tuple(covariate or ()), "window_days": window}
    settings |= {"planned": _parse_shares(ratio)} if ratio else {}
    config = parse(ReadoutConfig, settings, "readout")
    if report is not None:
        require_extra("report")  # before the long work
    with ProgressBar(f"readout {exposures.name}") as progress:
        readout = analyse_experiment(exposures, outcomes, config, progress)
    console = Console()
    console.print(experiment_tables(readout, console.width))
    if report is not None:
        from multitudes_lab.report.experiment_page import write_experiment_page

        write_experiment_page(readout, report)
        typer.echo(f"{report}: {report.stat().st_size / 1024:.0f} KiB, opens in any browser")
    print_json(readout_record(readout))


def _parse_shares(text: str) -> dict[str, float]:
    """Parse a text such as ``control=9,new=1``."""
    from multitudes.errors import UsageError

    shares = {}
    for pair in text.split(","):
        arm, _, share = pair.rpartition("=")
        try:
            shares[arm.strip()] = float(share)
        except ValueError:
            raise UsageError(f"--ratio '{text}'; expected the share of each arm, such as control=9,new=1") from None
    return shares


def preference_command(
    credited: Annotated[
        Path, typer.Argument(help="Table of user_id, timestamp, arm (that picked the item), metric, value.")
    ],
    metric: Annotated[
        list[str] | None, typer.Option(help="Metric, such as saves; repeatable. Default: all in the table.")
    ] = None,
    control: Annotated[str | None, typer.Option(help="Name of the control arm; default: control.")] = None,
    tightest_at: Annotated[int, typer.Option(min=2, help="As for `readout`; each user is in both arms.")] = 10_000,
    memory_limit: Annotated[str, typer.Option(help="Memory limit of DuckDB; it spills the rest to disk.")] = "1GB",
) -> None:
    """Report which of several interleaved arms users prefer.

    In an interleaved list (team draft) each item is the pick of one arm. This needs far fewer users than an A/B test.
    A row credits the arm whose pick a user saved, clicked or hid. The lift is of credit: it has the sign of the lift in
    an A/B test, not its size. Users are the units.
    """
    from dataclasses import asdict

    from rich.console import Console

    from multitudes.config import parse
    from multitudes.data.clean.tables import repair_text
    from multitudes.report.document import to_terminal
    from multitudes_lab.experiments.config import ReadoutConfig
    from multitudes_lab.experiments.interleaving import analyse_interleaving
    from multitudes_lab.experiments.summary import REPAIRS
    from multitudes_lab.report.experiment_tables import preference_tables

    settings = {name: value for name, value in locals().items() if name in ReadoutConfig.model_fields}
    settings["metrics"] = tuple(metric or ())
    with ProgressBar(f"preference {credited.name}") as progress:
        result = analyse_interleaving(credited, parse(ReadoutConfig, settings, "preference"), progress)
    console = Console()
    for table in preference_tables(result):
        console.print(to_terminal(table, console.width))
    for warning in result.warnings:
        typer.echo(f"warning: {warning}")
    for name, count in result.repairs.items():
        typer.echo(f"repair: {repair_text(name, count, REPAIRS)}")
    print_json(asdict(result))
