"""``multitudes plan``: estimate memory, machines and time of each stage from measured unit costs."""

from pathlib import Path
from typing import Annotated

import typer

from multitudes.cli.output import print_json, print_table, prints_json


def plan_command(
    users: Annotated[int, typer.Option(help="Number of users.")],
    items: Annotated[int, typer.Option(help="Number of items.")],
    events_per_day: Annotated[int, typer.Option(help="Events per day, of all users.")],
    qps: Annotated[float, typer.Option(help="Requests per second at peak load.")],
    days: Annotated[int, typer.Option(help="Days of events for training.")] = 90,
    width: Annotated[int, typer.Option(help="Width of the vectors.")] = 64,
    vectors: Annotated[int, typer.Option(help="Vectors per user.")] = 12,
    n: Annotated[int, typer.Option("--n", help="Candidates per response.")] = 100,
    replicas: Annotated[
        int, typer.Option(help="Minimum number of service replicas, and of copies of a remote index.")
    ] = 2,
    cores: Annotated[int, typer.Option(help="Cores per machine.")] = 16,
    memory_gib: Annotated[float, typer.Option(help="Memory per machine.")] = 64,
    utilisation: Annotated[float, typer.Option(help="Share of the cores that may be busy at peak load.")] = 0.5,
    price_per_core_hour: Annotated[
        float | None, typer.Option(help="Price of a core, in any currency, for costs.")
    ] = None,
    price_per_gib_hour: Annotated[float | None, typer.Option(help="Price of memory, for costs.")] = None,
    unit_costs: Annotated[
        Path | None, typer.Option(help="JSON measured on your machine by `python -m benchmarks.unit_costs`.")
    ] = None,
) -> None:
    """Estimate what a service of a given size needs.

    It estimates memory, disk, cores, machines and time of each stage from unit costs measured on one machine.
    """
    from multitudes.config import parse
    from multitudes_lab.capacity.plan import Capacity, CapacityConfig
    from multitudes_lab.capacity.unit_costs import load_unit_costs

    settings = {name: value for name, value in locals().items() if name in CapacityConfig.model_fields}
    config, costs = parse(CapacityConfig, settings, "options"), load_unit_costs(unit_costs)
    stages = Capacity(config, costs).stages()
    if prints_json():
        print_json({"asked": config.model_dump(), "machine": costs.machine, "stages": [s._asdict() for s in stages]})
        return
    typer.echo(f"{users:,} users, {items:,} items, {events_per_day:,} events a day, {qps:g}/s\n")
    numbers = ("memory GiB", "disk GiB", "cores", "machines", "time")
    rows, notes = [], []
    for stage in stages:
        figures = (f"{value:,.0f}" if value >= 10 or value == 0 else f"{value:.2g}" for value in stage[1:4])
        rows.append([stage.name, *figures, f"{stage.machines:,}", stage.time, stage.basis])
        of = "a month" if stage.is_permanent else "a run"
        notes.append([stage.name, stage.note + ("." if stage.cost is None else f". Costs {stage.cost:,.2f} {of}.")])
    print_table(rows, ("stage", *numbers, "basis"), right=numbers)
    typer.echo()
    print_table(notes)
    assumptions = (
        f"Machines of {cores} cores and {memory_gib:g} GiB, of which 80 % may be used; the peak uses {utilisation:.0%}"
        f" of the cores. {days} days of events, vectors of width {width}, {vectors} per user, {n} candidates. The"
        " estimate assumes that work spreads over all cores of a machine, and that time grows with size as it does"
        " between the two largest measured sizes."
    )
    typer.echo()
    print_table([[assumptions], [f"Unit costs measured on: {costs.machine}."]])
