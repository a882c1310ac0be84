"""``multitudes demo FILE``: every step from a person's own files to recommendations, as the commands that it prints."""

import time
from collections.abc import Sequence
from pathlib import Path

import typer

from multitudes.cli.demo import CANDIDATES, MODEL_SETTINGS, TRAIN_SETTINGS, create_demo_folder, print_step, sample_user
from multitudes.cli.output import hide_next, print_json, print_next

OWN_SETTINGS = f"""\
# The settings of `multitudes demo` on your own files: a small model, trained briefly. Its figures are a first look.
# `multitudes init DIR` writes a file with every setting, its default and its meaning.

{MODEL_SETTINGS}
[evaluate]
split = "validation"      # a test split is opened once, and this is a first look
max_users = 2000

{TRAIN_SETTINGS}"""
METHOD = "joint"


def run_on_files(words: Sequence[str], out: Path, *, overwrite: bool, json: bool) -> None:
    """Import files, prepare, train, evaluate, report, publish and recommend, into the new folder ``out``.

    Args:
        words: files and options of ``multitudes import``.
        out: the folder.
        overwrite: replace an earlier demo.
        json: print one JSON object as the last line.

    Raises:
        MultitudesError: of the step that failed. Nothing is left but what names the rows that could not be used.
    """
    start = time.perf_counter()
    data, prepared, run, releases, config = (
        f"{out}/{name}" for name in ("data", "prepared", METHOD, "releases", "demo.toml")
    )
    with create_demo_folder(out, overwrite, OWN_SETTINGS, kept=Path(f"{data}.dropped.csv")), hide_next():
        _run("import", *words, "--out", data)
        _run("prepare", data, "--out", prepared, "--config", config, *_prepare_words(Path(data)))
        _run("train", prepared, "--method", METHOD, "--out", run, "--config", config)
        _run("evaluate", run, "--config", config)
        _run("report", run, "--split", "validation", "--out", f"{out}/report.html")
        _run("publish", run, "--to", releases)
        user = sample_user(Path(run))
        _run("recommend", releases, "--user", str(user), "--explain", "--n", str(CANDIDATES))
    typer.echo(f"\n{out}: everything above, written in {time.perf_counter() - start:.0f} s; open {out}/report.html")
    print_next("explore", releases)
    print_next("serve", releases, label="or")
    if json:
        print_json({"out": str(out), "user_id": user})


def _run(*arguments: str) -> None:
    """Print a command and run it in this process."""
    from multitudes.cli.main import app
    from multitudes.errors import INTERRUPTED_EXIT_CODE

    print_step(arguments)
    if app(list(arguments), standalone_mode=False) == INTERRUPTED_EXIT_CODE:
        raise KeyboardInterrupt


def _prepare_words(data: Path) -> list[str]:
    """Return the options of prepare that suit what was imported."""
    from multitudes.cli.import_files import next_words
    from multitudes.data.importing.importer import read_report

    report = read_report(data)
    return next_words(report["split"], report["min_rating"])
