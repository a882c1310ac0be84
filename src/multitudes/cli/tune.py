"""``multitudes tune``: a search for the settings of one method, judged on validation."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from multitudes.cli.output import print_json

if TYPE_CHECKING:
    from multitudes.study.search import Found


class MetricName(StrEnum):
    """What can be maximised, at the main budget."""

    HR = "hr"
    RECALL = "recall"
    NDCG = "ndcg"
    TOPICS = "topics"


def command(
    prepared: Annotated[Path, typer.Argument(help="Folder written by `multitudes prepare`.")],
    out: Annotated[Path, typer.Option(metavar="FILE.toml", help="File to write, for `multitudes train --config`.")],
    method: Annotated[str, typer.Option(help="As in `multitudes train --method`.")] = "joint",
    trials: Annotated[int, typer.Option(min=1, help="Trainings to try; the first is with the settings as given.")] = 20,
    metric: Annotated[MetricName, typer.Option(help="What is maximised.")] = MetricName.HR,
    seed: Annotated[int, typer.Option(help="Seed of the search and of each training.")] = 0,
    config: Annotated[
        Path | None, typer.Option(help="TOML file with the settings to begin with: [model], [train], [retrieve].")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing file.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line.")] = False,
) -> None:
    """Search for the settings of one method.

    Every trial is one training, judged by first-time targets of the validation split; the test split is not looked at.
    Trials are kept in FILE.trials beside the file: after Ctrl-C or a crash the same command goes on.
    """
    from multitudes.cli.extras import require_study

    require_study()
    from multitudes.errors import UsageError

    if out.exists() and not overwrite:
        raise UsageError(f"{out}: exists; give another --out, or replace it with --overwrite")
    found = _search(prepared, out, method, trials, metric.value, seed, config)
    from multitudes.study.search import write_settings

    write_settings(found, out, f"Found by multitudes tune: {method} on {prepared}, {trials} trials, seed {seed}.")
    before, after = found.scores
    typer.echo(f"{out}: {metric.value} {_figure(before)} with the settings as given, {_figure(after)} with these")
    typer.echo(f"next: multitudes train {prepared} --method {method} --config {out} --out RUN")
    if json:
        print_json(
            {
                "settings": str(out),
                "method": method,
                "metric": metric.value,
                "best": found.tuned.best,
                "trials": [trial._asdict() for trial in found.tuned.trials],
            }
        )


def _search(
    prepared: Path, out: Path, method: str, trials: int, metric: str, seed: int, config: Path | None
) -> "Found":
    from multitudes.cli.study_line import StudyLine
    from multitudes.config import load_section, read_toml
    from multitudes.evaluate.config import EvaluateConfig
    from multitudes.study.config import SECTIONS, TuningConfig
    from multitudes.study.search import search

    sections = read_toml(config) if config else {}
    settings = {"method": method} | {name: sections.get(name, {}) for name in SECTIONS}
    asked = load_section(config, "evaluate", EvaluateConfig)
    tuning = TuningConfig.model_validate({"trials": trials, "metric": metric, "seed": seed})
    line = StudyLine()
    try:
        return search(prepared, settings, asked, tuning, out.with_suffix(".trials"), line)
    finally:
        line.close()


def _figure(score: float | None) -> str:
    return "failed" if score is None else f"{score:.4f}"
