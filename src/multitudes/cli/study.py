"""``multitudes study``: methods × data sets × seeds on equal terms, from one file.

``multitudes tune``: a search for the settings of one method, judged on validation.
"""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from multitudes.cli.output import print_json, progress_bar

if TYPE_CHECKING:
    from multitudes.study.config import StudyConfig
    from multitudes.study.run import StudyResult


def study_command(
    study: Annotated[Path, typer.Argument(metavar="STUDY.toml", help="What is compared; see docs/study.md.")],
    out: Annotated[Path | None, typer.Option(help="Folder of the study; default: study-NAME.")] = None,
    open_test: Annotated[
        bool, typer.Option("--open-test", help="Then ask the chosen settings about the test split; this is recorded.")
    ] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Do cells again that were done by other code.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line.")] = False,
) -> None:
    """Compare methods on equal terms, as one file says.

    The same data, seeds, tuning trials and budgets for all.

    What is done already is not done again: after Ctrl-C, a crash or a change of the file, the same command goes on.
    Figures are of the validation split until --open-test.
    """
    from multitudes.cli.extras import require_report, require_study

    require_study()
    require_report()
    from multitudes.study.config import read_study

    config = read_study(study)
    folder = out or Path(f"study-{config.name}")
    ended = _run_study(config, folder, study, open_test, fresh)
    _write_report(ended)
    _print_study(ended)
    if json:
        print_json(_study_record(ended))
    _raise_failures(ended, open_test)


def _run_study(config: "StudyConfig", folder: Path, study: Path, open_test: bool, fresh: bool) -> "StudyResult":
    from multitudes.cli.output import StudyProgressLine
    from multitudes.study.run import run_study

    line = StudyProgressLine()
    try:
        return run_study(
            config,
            folder,
            where=str(study),
            open_test=open_test,
            fresh=fresh,
            preparation_progress=line.show_preparation,
            listener=line,
        )
    finally:
        line.close()


def _write_report(ended: "StudyResult") -> None:
    """Write the report, unless there is nothing to report."""
    from multitudes.report.study_page import write_study_page
    from multitudes.study.summary import summarise, write_summary

    if not ended.n_done:
        return
    with progress_bar("report") as progress:
        summary = summarise(ended.folder, progress=progress)
    write_summary(ended.folder, summary)
    write_study_page(summary, ended.folder / "report.html")
    typer.echo(f"{ended.folder}/report.html: which method wins, by how much, for whom, at what cost")


def _print_study(ended: "StudyResult") -> None:
    cells, record = ended.record["cells"], ended.record
    if ended.n_done:
        typer.echo(f"{ended.folder}/outcomes.parquet: what each user got from {ended.n_done} cells")
    typer.echo(f"{ended.folder}/cells.json: settings, tuning and cost of each of {len(cells)} cells")
    typer.echo(f"split: {record['split']}; the test split was opened {record['opened_test']} times")

    for note in ended.notes:
        typer.echo(f"multitudes: warning: {note}", err=True)
    if ended.n_outdated:
        typer.echo(
            f"multitudes: warning: {ended.n_outdated} cells were done by other code than is installed now;"
            " --fresh does them again",
            err=True,
        )


def _study_record(ended: "StudyResult") -> dict[str, Any]:
    record = ended.record
    return {
        "study": str(ended.folder),
        "split": record["split"],
        "opened_test": record["opened_test"],
        "cells": len(record["cells"]),
        "failed": [{key: one[key] for key in ("data", "method", "seed", "error")} for one in ended.failed],
    }


def _raise_failures(ended: "StudyResult", open_test: bool) -> None:
    from multitudes.errors import MultitudesError

    if not ended.failed:
        return
    for one in ended.failed:
        typer.echo(f"failed: {one['data']} {one['method']} seed {one['seed']}: {one['error']}", err=True)
    raise MultitudesError(
        (
            f"{len(ended.failed)} of {len(ended.record['cells'])} cells have no result; the tables hold the others."
            " Run the same command again to try the missing ones, or take them out of the study"
            if ended.n_done
            else "no cell has a result, so there is nothing to compare."
            " Mend what is said above, and run the same command again"
        )
        + ("; the test split stays closed until each has one" if open_test and ended.record["split"] != "test" else "")
    )


if TYPE_CHECKING:
    from multitudes.study.tuning import TuningResult


class MetricName(StrEnum):
    """What can be maximised, at the main budget."""

    HR = "hr"
    RECALL = "recall"
    NDCG = "ndcg"
    TOPICS = "topics"


def tune_command(
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
    found = _search_settings(prepared, out, method, trials, metric.value, seed, config)
    from multitudes.study.tuning import write_settings

    write_settings(found, out, f"Found by multitudes tune: {method} on {prepared}, {trials} trials, seed {seed}.")
    before, after = found.scores
    typer.echo(
        f"{out}: {metric.value} {_score_text(before)} with the settings as given, {_score_text(after)} with these"
    )
    typer.echo(f"next: multitudes train {prepared} --method {method} --config {out} --out RUN")
    if json:
        print_json(
            {
                "settings": str(out),
                "method": method,
                "metric": metric.value,
                "best": found.search.best,
                "trials": [trial._asdict() for trial in found.search.trials],
            }
        )


def _search_settings(
    prepared: Path, out: Path, method: str, trials: int, metric: str, seed: int, config: Path | None
) -> "TuningResult":
    from multitudes.cli.output import StudyProgressLine
    from multitudes.config import load_section, read_sections
    from multitudes.evaluation.config import EvaluateConfig
    from multitudes.study.config import SECTIONS, TuningConfig
    from multitudes.study.tuning import tune_method

    sections = read_sections(config) if config else {}
    settings = {"method": method} | {name: sections.get(name, {}) for name in SECTIONS}
    asked = load_section(config, "evaluate", EvaluateConfig)
    tuning = TuningConfig.model_validate({"trials": trials, "metric": metric, "seed": seed})
    line = StudyProgressLine()
    try:
        return tune_method(prepared, settings, asked, tuning, out.with_suffix(".trials"), line)
    finally:
        line.close()


def _score_text(score: float | None) -> str:
    return "failed" if score is None else f"{score:.4f}"
