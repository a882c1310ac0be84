"""``multitudes simulate``: an online test in a world whose truth is known."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from multitudes.cli.output import print_json, progress_bar

if TYPE_CHECKING:
    from multitudes.report.simulation_result import SimulationResult


class ControlWorld(StrEnum):
    """Worlds in which a reason for several vectors is gone; of ``CONTROLS``."""

    ONE_TASTE = "one-taste"
    EMPTY_FOLLOWS = "empty-follows"


def simulate_command(
    world: Annotated[
        Path, typer.Argument(metavar="WORLD.toml", help="The world and the arms; see docs/simulation.md.")
    ],
    out: Annotated[Path | None, typer.Option(help="Folder of the experiment; default: simulated-NAME.")] = None,
    arm: Annotated[list[str] | None, typer.Option(help="Only this arm; may be given again.")] = None,
    control_world: Annotated[
        ControlWorld | None,
        typer.Option(help="A world in which users have one taste, or follows say nothing: a lift must vanish there."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line.")] = False,
) -> None:
    """Try arms in a simulated world.

    Users of known tastes come day by day; each arm retrieves for them with a release that it trained on the logs, a
    common ranker shows the best, and what users do becomes the next logs. What is lived already is not lived again:
    after Ctrl-C the same command goes on.
    """
    from multitudes.cli.extras import require_report, require_torch

    require_torch()
    require_report()
    from multitudes.simulation.config import read_experiment
    from multitudes.simulation.results import collect_results
    from multitudes.simulation.retraining import prepare_warnings
    from multitudes.simulation.run import simulate

    config = read_experiment(world, arms=tuple(arm or ()), control_world=control_world)
    folder = out or Path(f"simulated-{config.name}")
    with progress_bar(config.name) as progress:
        simulate(config, folder, progress)
        found = collect_results(config, folder, progress)
    _write_result(found, folder)
    for warning in prepare_warnings(folder):
        typer.echo(f"multitudes: warning: {warning}", err=True)
    if json:
        print_json(found.to_json() | {"folder": str(folder)})


def _write_result(found: "SimulationResult", folder: Path) -> None:
    from multitudes.atomic import write_json
    from multitudes.report.simulation_page import describe_simulation, lift_sentences, write_simulation_page

    write_simulation_page(found, folder / "report.html")
    write_json(folder / "result.json", found.to_json())
    typer.echo(describe_simulation(found))
    for line in lift_sentences(found):
        typer.echo(line)
    typer.echo(f"{folder}/report.html: what moved, for whom, and where it came from")
    typer.echo(f"{folder}/seed-*/exposures.parquet, outcomes.parquet: what a test would have seen; multitudes readout")
