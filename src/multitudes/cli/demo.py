"""``multitudes demo``: every step from tables to recommendations, on MovieLens-small, or on a person's own files.

``multitudes init``: a configuration with every setting, and small example tables.
"""

import shlex
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from multitudes.cli.import_files import prepare_words
from multitudes.cli.options import MapOption
from multitudes.cli.output import hide_next, print_json, print_next
from multitudes.data.location import reject_url
from multitudes.data.sample import sample_path
from multitudes.errors import INTERRUPTED_EXIT_CODE, UsageError
from multitudes.extras import require_extra

_SETTINGS = """\
# The settings of `multitudes demo`: a small model, trained briefly. Its figures are a first look.
# `multitudes init DIR` writes a file with every setting, its default and its meaning.
{prepare}
[model]
history = 20
dropout = 0.1

[evaluate]
split = "validation"      # a test split is opened once, and this is a first look
{evaluate}

[train]
epochs = 3
batch_size = 64
window = 20
learning_rate = 0.003
in_batch = 256
uniform = 256
validate_users = 600
"""
_PREPARE = """
[prepare]
split = "user"            # MovieLens' users hardly overlap in time, so each user's last events are held out
follows_from_share = 0.2  # no data on followed topics: they are those of the first fifth of each history
"""
_BUDGETS = "budgets = [20, 100]       # without 1,000, which takes as long as both"
SETTINGS = _SETTINGS.format(prepare=_PREPARE, evaluate=_BUDGETS)
OWN_SETTINGS = _SETTINGS.format(prepare="", evaluate="max_users = 2000")
METHOD = "joint"
SETTINGS_FILE = "demo.toml"  # its presence marks a folder as written by the demo
_DATA, _RELEASES = "data", "releases"
_SAMPLE = "movielens-small"


def demo_command(
    files: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="FILE", help="Your own events, as `multitudes import` reads them; default: MovieLens-small."
        ),
    ] = None,
    items: Annotated[list[Path] | None, typer.Option(help="Your file of items: their topics and titles.")] = None,
    users: Annotated[list[Path] | None, typer.Option(help="Your file of users and followed topics.")] = None,
    column_map: MapOption = None,
    max_dropped: Annotated[
        float | None, typer.Option(min=0, max=1, help="Share of your file's rows that may be left out.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder to write.")] = Path("multitudes-demo"),
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the folder of an earlier demo.")] = False,
) -> None:
    """Run all steps on MovieLens-small, or on your files.

    Import (your files), prepare, train, evaluate, report, publish, recommend: the demo prints the command of each step.
    MovieLens-small has a licence of its own: no commercial use without permission.
    """
    require_extra("train", "report")
    import polars as pl

    from multitudes.evaluation.compare import outcomes_file, read_result

    dropped = None if max_dropped is None else [max_dropped]
    given = {"--items": items, "--users": users, "--map": column_map, "--max-dropped": dropped}
    words = [word for option, values in given.items() for value in values or () for word in (option, str(value))]
    if words and not files:
        raise UsageError("--items, --users, --map and --max-dropped are for your own events: give their file too")
    start, run, config = time.perf_counter(), out / METHOD, out / SETTINGS_FILE
    data, releases = out / _DATA if files else sample_path(_SAMPLE), out / _RELEASES
    with create_demo_folder(out, OWN_SETTINGS if files else SETTINGS, overwrite=overwrite), hide_next():
        if files:
            _run("import", *files, *words, "--out", data)
        _run("prepare", data, "--out", out / "prepared", "--config", config, *prepare_words(data))
        _run("train", out / "prepared", "--method", METHOD, "--out", run, "--config", config)
        _run("evaluate", run, "--config", config)
        _run("report", run, "--split", "validation", "--out", out / "report.html")
        _run("publish", run, "--to", releases)
        # An evaluated user, drawn at random, so that the example is not hand-picked.
        outcomes = pl.read_parquet(outcomes_file(run, "validation"), glob=False)
        user = outcomes["user_id"].unique().sort().sample(seed=0).item()
        _run("recommend", releases, "--user", user, "--n", 20, "--explain")
    typer.echo(f"\n{out}: everything above, written in {time.perf_counter() - start:.0f} s; try next:")
    typer.echo(f"  open {out}/report.html in a browser")
    if not files:
        typer.echo(
            f"  multitudes recommend {releases} --history 480,457 --followed-topics Horror,Comedy --explain --n 20"
        )
        typer.echo("  multitudes demo ratings.csv --items movies.csv --out mine/demo   (your own files)")
    typer.echo(f"  multitudes recommend {releases} --user {user} --rows 4 --n 5")
    print_next("explore", releases)
    print_next("serve", releases, label="or")
    print_json({"out": str(out), "user_id": user, "evaluation": read_result(run, "validation")})


def _run(*words: object) -> None:
    """Print a command and run it in this process."""
    from multitudes.cli.main import app

    arguments = [*map(str, words)]
    typer.secho(f"\n$ multitudes {shlex.join(arguments)}", bold=True)
    if app(arguments, standalone_mode=False) == INTERRUPTED_EXIT_CODE:
        raise KeyboardInterrupt


@contextmanager
def create_demo_folder(out: Path, settings: str, *, overwrite: bool) -> Iterator[None]:
    """Create ``out`` with the file of settings, and remove it again if the block fails.

    The folder is written in place, because runs record the path of their data. It stays after a failure if it has the
    rows that could not be imported.

    Raises:
        UsageError: ``out`` exists and was not written by the demo, or was, and ``overwrite`` is off.
    """
    _remove_earlier_demo(out, overwrite)
    out.mkdir(parents=True, exist_ok=True)
    try:
        (out / SETTINGS_FILE).write_text(settings, encoding="utf-8")
        yield
    except BaseException:
        if not (out / f"{_DATA}.dropped.csv").exists():
            shutil.rmtree(out, ignore_errors=True)
        raise


def _remove_earlier_demo(out: Path, overwrite: bool) -> None:
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not (out / SETTINGS_FILE).is_file():
        raise UsageError(f"{out}: exists and was not written by the demo; choose another folder with --out")
    if not overwrite and (out / _RELEASES).exists():  # one that was killed, or failed, has none
        raise UsageError(f"{out}: holds an earlier demo; replace it with --overwrite, or choose another with --out")
    # Renamed before it is deleted: a half-deleted folder with this name would no longer be known as the demo's.
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.old-", dir=out.parent) as trash:
        out.rename(Path(trash) / out.name)


def init_command(folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to write; new or empty.")]) -> None:
    """Write a commented multitudes.toml and example tables.

    The tables are events, items and users, in the columns that `multitudes prepare` reads.
    """
    from multitudes.config import config_template
    from multitudes.data.planted import PlantedConfig, plant, write_world

    reject_url(folder)
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise UsageError(f"{folder}: exists and is not empty; choose a new folder")
    settings = config_template()
    world = plant(PlantedConfig(users=500, items=600, events=20_000, niches=30, topics=12))
    write_world(world, folder / "data")
    (folder / "multitudes.toml").write_text(settings, encoding="utf-8")
    typer.echo(f"{folder}/multitudes.toml: every setting with its default and meaning")
    typer.echo(f"{folder}/data: events, items and users of a small planted world (500 users, three tastes each)")
    print_json({"folder": str(folder)})
    print_next("prepare", folder / "data", "--out", folder / "prepared", "--config", folder / "multitudes.toml")
