"""``multitudes power``: how many users an experiment needs, or what so many can show."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from multitudes.cli.output import print_json, progress_bar

if TYPE_CHECKING:
    from multitudes.experiments.power import MetricBaseline, PowerAnalysis


def power_command(
    effect: Annotated[
        float | None, typer.Option(help="Relative lift to be shown, such as 0.01: how many users?")
    ] = None,
    users: Annotated[int | None, typer.Option(min=2, help="Users in each arm: which lift do they show?")] = None,
    mean: Annotated[float | None, typer.Option(help="Of the metric, per user.")] = None,
    sd: Annotated[float | None, typer.Option(help="Its standard deviation over users.")] = None,
    correlation: Annotated[
        float, typer.Option(min=-1, max=1, help="With the covariate before the exposure; CUPED takes its square off.")
    ] = 0.0,
    exposures: Annotated[Path | None, typer.Option(help="In place of these, of the past: as for `readout`.")] = None,
    outcomes: Annotated[Path | None, typer.Option(help="Of the past: as for `readout`.")] = None,
    metric: Annotated[str | None, typer.Option(help="Of the past: as for `readout`.")] = None,
    window: Annotated[int | None, typer.Option(min=1, help="Of the past: days since the exposure that count.")] = None,
    winsorise: Annotated[float | None, typer.Option(help="Of the past: as for `readout`.")] = None,
    power: Annotated[float, typer.Option(help="Share of experiments in which the effect is to be found.")] = 0.8,
    comparisons: Annotated[int, typer.Option(min=1, help="Metrics × arms × cohorts that share 5 % of error.")] = 1,
    tightest_at: Annotated[int, typer.Option(min=2, help="As for `readout`.")] = 10_000,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line.")] = False,
) -> None:
    """Say how many users an experiment needs.

    Or, with --users, which effect so many users show. The metric is described by --mean and --sd (and --correlation),
    or by --exposures and --outcomes of the past. The arms are of equal size.
    """
    from math import inf

    from multitudes.errors import UsageError
    from multitudes.experiments.power import PowerAnalysis, minimum_detectable_effect, sample_size

    if (effect is None) == (users is None):
        raise UsageError("give --effect, to learn how many users it needs, or --users, to learn what they show")
    if effect is not None and not effect > 0:
        raise UsageError(f"--effect {effect:g}; expected a relative lift above 0, such as 0.01")
    if not 0 < power < 1:
        raise UsageError(f"--power {power:g}; expected a share between 0 and 1")
    known = _metric_baseline(mean, sd, correlation, exposures, outcomes, metric, window, winsorise)
    plan = PowerAnalysis(power, comparisons, tightest_at)
    record = {"past": known._asdict(), "plan": plan._asdict()}
    for name, always in (("once", False), ("sequential", True)):
        n = users or sample_size(effect or 0, known, plan, any_look=always)
        shown = effect or minimum_detectable_effect(n, known, plan, any_look=always)
        if shown == inf:
            raise UsageError(f"{n:,} users in each arm show no lift at all, however large; give more --users")
        record[name] = {"users_per_arm": n, "effect": shown}
    _print_power(known, plan, record)
    if json:
        print_json(record)


def _metric_baseline(
    mean: float | None,
    sd: float | None,
    correlation: float,
    exposures: Path | None,
    outcomes: Path | None,
    metric: str | None,
    window: int | None,
    winsorise: float | None,
) -> "MetricBaseline":
    from multitudes.config import parse
    from multitudes.errors import UsageError
    from multitudes.experiments.config import ReadoutConfig
    from multitudes.experiments.power import MetricBaseline, read_metric_baseline

    if mean is not None and sd is not None:
        if mean == 0 or not sd > 0:
            raise UsageError(f"--mean {mean:g} --sd {sd:g}; expected a mean other than 0 and a deviation above 0")
        return MetricBaseline(mean, sd, min(correlation**2, 1 - 1e-9))
    if exposures is None or outcomes is None or metric is None:
        raise UsageError("give --mean and --sd of the metric, or --exposures, --outcomes and --metric of the past")
    given = {"metrics": (metric,), "window_days": window, "winsorise": winsorise}
    with progress_bar(f"power {exposures.name}") as progress:
        return read_metric_baseline(exposures, outcomes, parse(ReadoutConfig, given, "power"), progress)


def _print_power(known: "MetricBaseline", plan: "PowerAnalysis", record: dict[str, dict[str, float]]) -> None:
    taken = f"; covariates take off {known.explained:.0%} of the variance" if known.explained else ""
    typer.echo(f"mean {known.mean:.4g}, standard deviation over users {known.sd:.4g}{taken}")
    for name, words in (("once", "one planned look"), ("sequential", "at any look")):
        n, effect = int(record[name]["users_per_arm"]), record[name]["effect"]
        typer.echo(
            f"{words}: {n:,} users in each arm show a lift of {100 * effect:.3g} % in {plan.power:.0%} of experiments"
        )
