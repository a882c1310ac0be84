"""``multitudes plan``: what a service of some size needs, stage by stage, from measured unit costs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from multitudes.cli.output import print_json

if TYPE_CHECKING:
    from multitudes.capacity.plan import CapacityConfig, StageRequirements
    from multitudes.capacity.unit_costs import UnitCosts


def plan_command(
    users: Annotated[int, typer.Option(help="How many users.")],
    items: Annotated[int, typer.Option(help="How many items.")],
    events_per_day: Annotated[int, typer.Option(help="Events of all users in a day.")],
    qps: Annotated[float, typer.Option(help="Answers a second at the peak.")],
    days: Annotated[int, typer.Option(help="Days of events that a training reads.")] = 90,
    width: Annotated[int, typer.Option(help="Width of the vectors.")] = 64,
    vectors: Annotated[int, typer.Option(help="Vectors of a user.")] = 12,
    n: Annotated[int, typer.Option("--n", help="Candidates of an answer.")] = 100,
    replicas: Annotated[int, typer.Option(help="Least number of services, and copies of a remote index.")] = 2,
    cores: Annotated[int, typer.Option(help="Cores of a machine.")] = 16,
    memory_gib: Annotated[float, typer.Option(help="Memory of a machine.")] = 64,
    utilisation: Annotated[float, typer.Option(help="Share of the cores that the peak may use.")] = 0.5,
    price_per_core_hour: Annotated[float | None, typer.Option(help="For costs, in any currency.")] = None,
    price_per_gib_hour: Annotated[float | None, typer.Option(help="Of memory, for costs.")] = None,
    unit_costs: Annotated[
        Path | None, typer.Option(help="JSON of your machine, by `python -m benchmarks.unit_costs`.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line.")] = False,
) -> None:
    """Say what a service of some size needs.

    Memory, disk, cores, machines and time of each stage, reckoned from unit costs that were measured on one machine.
    """
    from multitudes.capacity.plan import CapacityConfig, plan_capacity
    from multitudes.capacity.unit_costs import load_unit_costs
    from multitudes.config import parse

    given = {
        "users": users,
        "items": items,
        "events_per_day": events_per_day,
        "qps": qps,
        "days": days,
        "width": width,
        "vectors": vectors,
        "n": n,
        "replicas": replicas,
        "cores": cores,
        "memory_gib": memory_gib,
        "utilisation": utilisation,
        "price_per_core_hour": price_per_core_hour,
        "price_per_gib_hour": price_per_gib_hour,
    }
    asked, costs = parse(CapacityConfig, given, "options"), load_unit_costs(unit_costs)
    stages = plan_capacity(asked, costs)
    if json:
        print_json({"asked": asked.model_dump(), "machine": costs.machine, "stages": [s._asdict() for s in stages]})
        return
    for line in plan_lines(stages, asked, costs):
        typer.echo(line)


def plan_lines(stages: "list[StageRequirements]", asked: "CapacityConfig", costs: "UnitCosts") -> list[str]:
    """Return the plan in lines of at most 80 columns."""
    from textwrap import wrap

    priced = any(stage.cost is not None for stage in stages)
    head = f"{'stage':8}{'memory GiB':>11}{'disk GiB':>10}{'cores':>7}{'machines':>9}{'time':>16}  basis"
    shown = [
        f"{asked.users:,} users, {asked.items:,} items, {asked.events_per_day:,} events a day, {asked.qps:g}/s",
        "",
    ]
    shown.append(head)
    shown += [
        f"{stage.name:8}{_number_text(stage.memory_gib):>11}{_number_text(stage.disk_gib):>10}{_number_text(stage.cores):>7}"
        f"{stage.machines:>9,}{stage.time:>16}  {stage.basis}"
        for stage in stages
    ]
    shown.append("")
    if priced:
        shown += [
            f"{stage.name:8} costs {stage.cost:,.2f} {'a month' if stage.runs_always else 'a run'}"
            for stage in stages
            if stage.cost is not None
        ]
        shown.append("")
    for stage in stages:
        shown += wrap(f"{stage.name}: {stage.note}.", 80, subsequent_indent="  ")
    assumed = (
        f"Machines of {asked.cores} cores and {asked.memory_gib:g} GiB, of which 80 % may be used; the peak uses"
        f" {asked.utilisation:.0%} of the cores. {asked.days} days of events, vectors of {asked.width} numbers,"
        f" {asked.vectors} of a user, {asked.n} candidates. Work is taken to spread over the cores of a machine, and"
        " time to grow with the size as between the two largest sizes that were measured."
    )
    shown += ["", *wrap(assumed, 80), *wrap(f"Unit costs measured on: {costs.machine}.", 80)]
    return shown


def _number_text(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 or value == 0 else f"{value:.2g}"
