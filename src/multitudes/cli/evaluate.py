"""``multitudes evaluate`` and ``report``: metrics of a run beside its controls and baselines, and their HTML page."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from multitudes.cli.options import SetOption, parse_overrides
from multitudes.cli.output import print_json, print_next
from multitudes.progress import ProgressBar


def evaluate_command(
    run: Annotated[Path, typer.Argument(help="Run folder written by `multitudes train`.")],
    split: Annotated[Literal["test", "validation"] | None, typer.Option(help="Held-out split; default: test.")] = None,
    against: Annotated[list[Path] | None, typer.Option(help="Compare with this evaluated run; repeatable.")] = None,
    prepared: Annotated[Path | None, typer.Option(help="Prepared folder of the run, if it was moved.")] = None,
    config: Annotated[Path | None, typer.Option(help="TOML file with [evaluate] and [retrieve].")] = None,
    overrides: SetOption = None,
) -> None:
    """Evaluate a run beside its controls and baselines.

    All get the same number of candidates from the full corpus. The metrics, with intervals, are printed and written
    into the run's folder.
    """
    from multitudes.cli.train import require_extra_for

    require_extra_for(run)
    from rich.console import Console

    from multitudes.config import load_section
    from multitudes.evaluation.compare import compare, read_result
    from multitudes.evaluation.config import EvaluateConfig
    from multitudes.evaluation.evaluate import evaluate, save
    from multitudes.report.document import to_terminal
    from multitudes.report.evaluation_tables import comparison_table, evaluation_tables
    from multitudes.retrieval.config import RetrieveConfig
    from multitudes.training.runs import open_run

    changes = parse_overrides(overrides, "evaluate", "retrieve")
    settings = load_section(config, "evaluate", EvaluateConfig, changes)
    settings = settings if split is None else settings.model_copy(update={"split": split})
    for other in against or []:
        read_result(other, settings.split)  # a missing evaluation is an error before the long work
    with ProgressBar(f"evaluate {run}") as progress:
        retrieve = load_section(config, "retrieve", RetrieveConfig, changes)
        evaluation = evaluate(open_run(run, prepared), settings, retrieve, progress)
    save(evaluation, run)
    console = Console()
    console.print(evaluation_tables(evaluation.result, console.width))
    comparisons = [compare([run], [other], settings.split) for other in against or []]
    for comparison in comparisons:
        console.print(to_terminal(comparison_table(comparison), console.width))
    print_json(evaluation.result | ({"against": comparisons} if comparisons else {}))
    print_next("report", run, *(["--split", settings.split] if settings.split != "test" else []))


def report_command(
    run: Annotated[Path, typer.Argument(help="Run folder, after `multitudes evaluate`.")],
    out: Annotated[Path | None, typer.Option(help="HTML file to write; default: RUN/report.html.")] = None,
    split: Annotated[Literal["test", "validation"], typer.Option(help="Split whose evaluation is shown.")] = "test",
) -> None:
    """Write the evaluation of a run as one HTML file.

    It holds metrics, segments and training curves, and loads nothing from the network.
    """
    from multitudes.report.evaluation_page import write_evaluation_page

    file = out or run / "report.html"
    write_evaluation_page(run, file, split)
    typer.echo(f"{file}: {file.stat().st_size / 1024:.0f} KiB, opens in any browser")
    print_json({"run": str(run), "report": str(file), "bytes": file.stat().st_size})
    print_next("publish", run, "--to", run.parent / "releases")
