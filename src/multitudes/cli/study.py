"""``multitudes study``: methods × data sets × seeds on equal terms, from one file."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from multitudes.cli.output import print_json, progress_bar

if TYPE_CHECKING:
    from multitudes.study.config import StudyConfig
    from multitudes.study.run import Ended


def command(
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
    ended = _run(config, folder, study, open_test, fresh)
    _report(ended)
    _show(ended)
    if json:
        print_json(_summary(ended))
    _complain(ended, open_test)


def _run(config: "StudyConfig", folder: Path, study: Path, open_test: bool, fresh: bool) -> "Ended":
    from multitudes.cli.study_line import StudyLine
    from multitudes.study.run import run_study

    line = StudyLine()
    try:
        return run_study(
            config, folder, where=str(study), open_test=open_test, fresh=fresh, preparing=line.preparing, watch=line
        )
    finally:
        line.close()


def _report(ended: "Ended") -> None:
    """Write the report, unless there is nothing to report."""
    from multitudes.report.study import write_study_report
    from multitudes.study.summary import summarise, write_summary

    if not ended.done:
        return
    with progress_bar("report") as progress:
        summary = summarise(ended.folder, progress=progress)
    write_summary(ended.folder, summary)
    write_study_report(summary, ended.folder / "report.html")
    typer.echo(f"{ended.folder}/report.html: which method wins, by how much, for whom, at what cost")


def _show(ended: "Ended") -> None:
    cells, record = ended.record["cells"], ended.record
    if ended.done:
        typer.echo(f"{ended.folder}/outcomes.parquet: what each user got from {ended.done} cells")
    typer.echo(f"{ended.folder}/cells.json: settings, tuning and cost of each of {len(cells)} cells")
    typer.echo(f"split: {record['split']}; the test split was opened {record['opened_test']} times")

    for note in ended.notes:
        typer.echo(f"multitudes: warning: {note}", err=True)
    if ended.of_other_code:
        typer.echo(
            f"multitudes: warning: {ended.of_other_code} cells were done by other code than is installed now;"
            " --fresh does them again",
            err=True,
        )


def _summary(ended: "Ended") -> dict[str, Any]:
    record = ended.record
    return {
        "study": str(ended.folder),
        "split": record["split"],
        "opened_test": record["opened_test"],
        "cells": len(record["cells"]),
        "failed": [{key: one[key] for key in ("data", "method", "seed", "error")} for one in ended.failed],
    }


def _complain(ended: "Ended", open_test: bool) -> None:
    from multitudes.errors import MultitudesError

    if not ended.failed:
        return
    for one in ended.failed:
        typer.echo(f"failed: {one['data']} {one['method']} seed {one['seed']}: {one['error']}", err=True)
    raise MultitudesError(
        (
            f"{len(ended.failed)} of {len(ended.record['cells'])} cells have no result; the tables hold the others."
            " Run the same command again to try the missing ones, or take them out of the study"
            if ended.done
            else "no cell has a result, so there is nothing to compare."
            " Mend what is said above, and run the same command again"
        )
        + ("; the test split stays closed until each has one" if open_test and ended.record["split"] != "test" else "")
    )
