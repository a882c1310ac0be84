"""``multitudes study``: compare methods on equal terms."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from multitudes.atomic import write_text
from multitudes.cli.options import SetOption, parse_overrides
from multitudes.cli.output import print_json, print_next
from multitudes.errors import MultitudesError
from multitudes.extras import require_extra
from multitudes.progress import ProgressBar, amount

if TYPE_CHECKING:
    from multitudes.study.run import StudyResult


def study_command(
    study: Annotated[Path, typer.Argument(metavar="STUDY.toml", help="The comparison; see docs/study.md.")],
    out: Annotated[Path | None, typer.Option(help="Folder of the study; default: study-NAME.")] = None,
    overrides: SetOption = None,
    open_test: Annotated[
        bool, typer.Option("--open-test", help="Evaluate the chosen settings on the test split; this is recorded.")
    ] = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Repeat cells that another version of the code computed.")
    ] = False,
) -> None:
    """Compare methods on equal terms, as described in one file.

    All methods get the same data, seeds, tuning trials and budgets. Finished cells are not repeated: after Ctrl-C, a
    crash or a change of the file, the same command goes on. Metrics are of the validation split until --open-test.
    """
    require_extra("train", "study", "report")
    from multitudes.study.config import read_study
    from multitudes.study.grid import grid_entries
    from multitudes.study.run import run_study

    config = read_study(study, parse_overrides(overrides))
    folder = out or Path(f"study-{config.name}")
    grid_entries(config, str(study))  # raises first: an error is one line
    with ProgressBar(config.name) as progress:
        result = run_study(config, folder, where=str(study), open_test=open_test, fresh=fresh, progress=progress)
    _write_report(result)
    _print_study(result)
    record = result.record
    failed = [{key: cell[key] for key in ("data", "method", "seed", "error")} for cell in result.failed]
    counts = {"opened_test": record["opened_test"], "cells": len(record["cells"]), "failed": failed}
    print_json({"study": str(result.folder), "split": record["split"], **counts})
    _raise_failures(result, open_test)
    if record["split"] != "test":
        words = [] if out is None else ["--out", str(out)]
        words += [word for override in overrides or [] for word in ("--set", override)]
        note = " (once, when the settings are final)"
        print_next("study", study, *words, "--open-test", note=note)


def _write_report(result: "StudyResult") -> None:
    """Write the report, unless no cell is done."""
    from multitudes.report.document import to_markdown
    from multitudes.report.study_page import study_blocks, write_study_page
    from multitudes.study.summary import summarise, write_summary

    if not result.n_done:
        return
    with ProgressBar("report") as progress:
        summary = summarise(result.folder, progress=progress)
    write_summary(result.folder, summary)
    write_study_page(summary, result.folder / "report.html")
    write_text(result.folder / "report.md", to_markdown(study_blocks(summary)))
    typer.echo(f"{result.folder}/report.html, report.md: which method wins, by how much, for whom, at what cost")


def _print_study(result: "StudyResult") -> None:
    cells, record = result.record["cells"], result.record
    if result.n_done:
        typer.echo(f"{result.folder}/outcomes.parquet: what each user got from {amount(result.n_done, 'cell')}")
    typer.echo(f"{result.folder}/cells.json: settings, tuning and cost of {amount(len(cells), 'cell')}")
    typer.echo(f"split: {record['split']}; the test split was opened {amount(record['opened_test'], 'time')}")

    for note in record["notes"]:
        typer.echo(f"multitudes: warning: {note}", err=True)
    if result.n_outdated:
        outdated = amount(result.n_outdated, "cell")
        typer.echo(f"multitudes: warning: computed by other code: {outdated}; --fresh repeats them", err=True)


def _raise_failures(result: "StudyResult", open_test: bool) -> None:
    if not result.failed:
        return
    for cell in result.failed:
        typer.echo(f"failed: {cell['data']} {cell['method']} seed {cell['seed']}: {cell['error']}", err=True)
    raise MultitudesError(
        (
            f"no result for {len(result.failed)} of {amount(len(result.record['cells']), 'cell')}; the tables hold the"
            " others. Run the same command again to try the missing ones, or remove them from the study"
            if result.n_done
            else "no cell has a result, so there is nothing to compare."
            " Fix the errors above, and run the same command again"
        )
        + ("; the test split stays closed until each has one" if open_test and result.record["split"] != "test" else "")
    )
