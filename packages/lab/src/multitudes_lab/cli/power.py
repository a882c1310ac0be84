"""``multitudes power``: the sample size for an effect, or the minimum detectable effect of a sample size."""

from pathlib import Path
from typing import Annotated

import typer

from multitudes.cli.output import print_json
from multitudes.progress import ProgressBar


def power_command(
    effect: Annotated[
        float | None, typer.Option(help="Relative lift, such as 0.01: how many users does it need?")
    ] = None,
    users: Annotated[int | None, typer.Option(min=2, help="Users in each arm: which lift can they detect?")] = None,
    mean: Annotated[float | None, typer.Option(help="Mean of the metric per user.")] = None,
    sd: Annotated[float | None, typer.Option(help="Standard deviation of the metric over users.")] = None,
    correlation: Annotated[
        float,
        typer.Option(min=-1, max=1, help="Correlation with the covariate before exposure; CUPED removes its square."),
    ] = 0.0,
    exposures: Annotated[
        Path | None, typer.Option(help="Past exposures, in place of --mean and --sd; see `readout`.")
    ] = None,
    outcomes: Annotated[Path | None, typer.Option(help="Past outcomes; see `readout`.")] = None,
    metric: Annotated[str | None, typer.Option(help="Metric of the past outcomes; see `readout`.")] = None,
    window: Annotated[int | None, typer.Option(min=1, help="Past days since exposure to count.")] = None,
    winsorise: Annotated[float | None, typer.Option(help="Quantile for past sums; see `readout`.")] = None,
    power: Annotated[float, typer.Option(help="Share of experiments that detect the effect.")] = 0.8,
    comparisons: Annotated[int, typer.Option(min=1, help="Metrics × arms × cohorts that share the 5 % error.")] = 1,
    tightest_at: Annotated[int, typer.Option(min=2, help="See `readout`.")] = 10_000,
) -> None:
    """Calculate how many users an experiment needs.

    With --users, calculate the smallest effect that so many users can detect. Describe the metric by --mean and --sd
    (and --correlation), or by past --exposures and --outcomes. The arms have equal sizes.
    """
    from math import inf

    from multitudes.config import parse
    from multitudes.errors import UsageError
    from multitudes_lab.experiments import power as analysis
    from multitudes_lab.experiments.config import ReadoutConfig

    if (effect is None) == (users is None):
        raise UsageError("give --effect, to learn how many users it needs, or --users, to learn what they show")
    if effect is not None and not effect > 0:
        raise UsageError(f"--effect {effect:g}; expected a relative lift above 0, such as 0.01")
    if not 0 < power < 1:
        raise UsageError(f"--power {power:g}; expected a share between 0 and 1")
    if mean is not None and sd is not None:
        if mean == 0 or not sd > 0:
            raise UsageError(f"--mean {mean:g} --sd {sd:g}; expected a mean other than 0 and a deviation above 0")
        baseline = analysis.MetricBaseline(mean, sd, min(correlation**2, 1 - 1e-9))
    elif exposures is None or outcomes is None or metric is None:
        raise UsageError("give --mean and --sd of the metric, or --exposures, --outcomes and --metric of the past")
    else:
        settings = {"metrics": (metric,), "window_days": window, "winsorise": winsorise}
        with ProgressBar(f"power {exposures.name}") as progress:
            config = parse(ReadoutConfig, settings, "power")
            baseline = analysis.read_metric_baseline(exposures, outcomes, config, progress)
    explained = f"; covariates explain {baseline.explained:.0%} of the variance" if baseline.explained else ""
    lines = [f"mean {baseline.mean:.4g}, standard deviation over users {baseline.sd:.4g}{explained}"]
    plan = analysis.PowerAnalysis(power, comparisons, tightest_at)
    record: dict[str, dict[str, float]] = {"past": baseline._asdict(), "plan": plan._asdict()}
    for name, words in (("once", "one planned look"), ("sequential", "at any look")):
        any_look = name == "sequential"
        n = users or analysis.sample_size(effect or 0, baseline, plan, any_look=any_look)
        lift = effect or analysis.minimum_detectable_effect(n, baseline, plan, any_look=any_look)
        if lift == inf:
            raise UsageError(f"{n:,} users in each arm show no lift at all, however large; give more --users")
        record[name] = {"users_per_arm": n, "effect": lift}
        lines.append(
            f"{words}: {n:,} users in each arm show a lift of {100 * lift:.3g} % in {power:.0%} of experiments"
        )
    typer.echo("\n".join(lines))
    print_json(record)
