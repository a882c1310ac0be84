"""``multitudes simulate``: an online experiment in a simulated world with known tastes."""

from pathlib import Path
from typing import Annotated

import typer

from multitudes.cli.options import SetOption, parse_overrides
from multitudes.cli.output import print_json, print_next
from multitudes.progress import ProgressBar


def simulate_command(
    world: Annotated[
        Path, typer.Argument(metavar="WORLD.toml", help="The world and the arms; see docs/simulation.md.")
    ],
    out: Annotated[Path | None, typer.Option(help="Folder of the experiment; default: simulated-NAME.")] = None,
    arm: Annotated[list[str] | None, typer.Option(help="Simulate only this arm; repeatable.")] = None,
    control_world: Annotated[
        str | None,
        typer.Option(
            help="one-taste, empty-follows (followed topics carry no information), overlapping-tastes or other-topics"
            " (topics are not the tastes): a lift is not expected, or must show that it holds."
        ),
    ] = None,
    overrides: SetOption = None,
) -> None:
    """Run an experiment in a simulated world.

    Users with known tastes visit day by day. Each arm retrieves candidates with a release that it trained on its logs,
    a common ranker shows the best of them, and the reactions of users become the next logs. Finished days are not
    repeated: after Ctrl-C, the same command goes on.
    """
    from multitudes.extras import require_extra

    require_extra("train", "report")
    from multitudes.atomic import write_json
    from multitudes_lab.report.simulation_page import describe_simulation, lift_sentences, write_simulation_page
    from multitudes_lab.simulation.config import read_experiment
    from multitudes_lab.simulation.results import collect_results
    from multitudes_lab.simulation.retraining import prepare_warnings
    from multitudes_lab.simulation.run import simulate

    config = read_experiment(world, tuple(arm or ()), control_world, parse_overrides(overrides))
    folder = out or Path(f"simulated-{config.name}")
    with ProgressBar(config.name) as progress:
        simulate(config, folder, progress)
        result = collect_results(config, folder, progress)
    write_simulation_page(result, folder / "report.html")
    write_json(folder / "result.json", result.to_json())
    typer.echo(describe_simulation(result))
    for line in lift_sentences(result):
        typer.echo(line)
    typer.echo(f"{folder}/report.html: what changed, for whom, and why")
    typer.echo(f"{folder}/seed-*/exposures.parquet, outcomes.parquet: tables of the experiment, for multitudes readout")
    for warning in prepare_warnings(folder):
        typer.echo(f"multitudes: warning: {warning}", err=True)
    print_json(result.to_json() | {"folder": str(folder)})
    seed = folder / f"seed-{config.seeds[0]}"
    print_next("readout", seed / "exposures.parquet", seed / "outcomes.parquet")
