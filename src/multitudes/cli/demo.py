"""``multitudes demo``: every step from tables to recommendations, on MovieLens-small, or on a person's own files."""

import json
import shlex
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Annotated, Any

import typer

from multitudes.cli.options import MapOption
from multitudes.cli.output import hide_next, print_json, print_next
from multitudes.progress import ProgressBar

if TYPE_CHECKING:
    from multitudes.retrieval.response import Recommendation

MODEL_SETTINGS = """\
[model]
history = 20
dropout = 0.1
"""
TRAIN_SETTINGS = """\
[train]
epochs = 3
batch_size = 64
window = 20
learning_rate = 0.003
in_batch = 256
uniform = 256
validate_users = 600
"""
SETTINGS = f"""\
# The settings of `multitudes demo`: a small model, trained briefly, so that the demo ends in a minute.
# `multitudes init DIR` writes a file with every setting, its default and its meaning.

[prepare]
split = "user"            # MovieLens' users hardly overlap in time, so each user's last events are held out
follows_from_share = 0.2  # no data on followed topics: they are those of the first fifth of each history

{MODEL_SETTINGS}
[evaluate]
split = "validation"      # the demo runs often, and a test split is opened once
budgets = [20, 100]       # without 1,000, which takes as long as both

{TRAIN_SETTINGS}"""
OWN_SETTINGS = f"""\
# The settings of `multitudes demo` on your own files: a small model, trained briefly. Its figures are a first look.
# `multitudes init DIR` writes a file with every setting, its default and its meaning.

{MODEL_SETTINGS}
[evaluate]
split = "validation"      # a test split is opened once, and this is a first look
max_users = 2000

{TRAIN_SETTINGS}"""
METHOD = "joint"
SETTINGS_FILE = "demo.toml"  # its presence also marks a folder as written by the demo
_UNFINISHED_FILE = ".unfinished"

# The systems that METHOD is compared with, each with a short explanation.
COMPARED_WITH = {
    "unconditioned": "the one vector of the whole history of the same model",
    "calibrated": "that vector, its list divided among the user's tastes as joint's is",
    "steck": "that vector, its best 600 re-ranked to the user's tastes by a greedy sum",
    "round_robin": "joint's vectors in turns, as in the paper",
    "random_partition": "joint's own tower, with a random partition of the history",
    "covisit": "items that often occur together with the user's own, without training",
    "ease": "a linear model of items, solved in closed form",
    "popularity": "the same list for everyone",
}

_SAMPLE = "movielens-small"
CANDIDATES = 20
_SVG_COLUMNS = 132


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
    from multitudes.data.sample import sample_path
    from multitudes.errors import UsageError
    from multitudes.extras import require_extra

    require_extra("train", "report")
    dropped = None if max_dropped is None else [max_dropped]
    given = {"--items": items, "--users": users, "--map": column_map, "--max-dropped": dropped}
    words = [word for option, values in given.items() for value in values or () for word in (option, str(value))]
    if words and not files:
        raise UsageError("--items, --users, --map and --max-dropped are for your own events: give their file too")
    start, run, config = time.perf_counter(), out / METHOD, _settings_file(out)
    data = out / "data" if files else sample_path(_SAMPLE)
    with create_demo_folder(out, overwrite, OWN_SETTINGS if files else "", kept=out / "data.dropped.csv"), hide_next():
        if files:
            _run("import", *files, *words, "--out", data)
        fitting = _prepare_words(data) if files else []
        _run("prepare", data, "--out", out / "prepared", "--config", config, *fitting)
        _run("train", out / "prepared", "--method", METHOD, "--out", run, "--config", config)
        _evaluate(run, config)
        _run("report", run, "--split", "validation", "--out", out / "report.html")
        _run("publish", run, "--to", out / "releases")
        recommendation = _recommend(out, run)
        block = print_comparison(run)
    typer.echo(f"\n{out}: everything above, written in {time.perf_counter() - start:.0f} s")
    _print_next_steps(out, recommendation, is_sample=not files)
    print_json({"out": str(out), "user_id": recommendation.user_id, **block})


def _run(*words: object) -> None:
    """Print a command and run it in this process."""
    from multitudes.cli.main import app
    from multitudes.errors import INTERRUPTED_EXIT_CODE

    arguments = [*map(str, words)]
    print_step(arguments)
    if app(arguments, standalone_mode=False) == INTERRUPTED_EXIT_CODE:
        raise KeyboardInterrupt


def _prepare_words(data: Path) -> list[str]:
    """Return the options of prepare that suit what was imported."""
    from multitudes.cli.import_files import next_words
    from multitudes.data.importing.importer import MARKER

    report = json.loads((data / MARKER).read_text(encoding="utf-8"))
    return next_words(report["split"], report["min_rating"])


@contextmanager
def create_demo_folder(out: Path, overwrite: bool, settings: str = "", kept: Path | None = None) -> Iterator[None]:
    """Create ``out`` with the file of settings, and remove it again if the block fails.

    The folder is written in place, because runs record the path of their data. A marker file says that it is
    unfinished, so the next demo replaces what a killed demo has left.

    Args:
        out: the folder.
        overwrite: replace an earlier demo.
        settings: TOML; empty: those of the demo on MovieLens-small.
        kept: a file that explains a failure; if it is there, the unfinished folder is left.

    Raises:
        UsageError: ``out`` exists and was not written by the demo, or was, and ``overwrite`` is off.
    """
    _remove_earlier_demo(out, overwrite)
    out.mkdir(parents=True, exist_ok=True)
    try:
        (out / _UNFINISHED_FILE).touch()
        _settings_file(out).write_text(settings or SETTINGS, encoding="utf-8")
        yield
        (out / _UNFINISHED_FILE).unlink()
    except BaseException:
        if kept is None or not kept.exists():
            shutil.rmtree(out, ignore_errors=True)
        raise


def _remove_earlier_demo(out: Path, overwrite: bool) -> None:
    from multitudes.errors import UsageError

    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    unfinished = (out / _UNFINISHED_FILE).is_file()
    if not unfinished and not _settings_file(out).is_file():
        raise UsageError(f"{out}: exists and was not written by the demo; choose another folder with --out")
    if not unfinished and not overwrite:
        raise UsageError(f"{out}: holds an earlier demo; replace it with --overwrite, or choose another with --out")
    # Renamed before it is deleted: a half-deleted folder with this name would no longer be known as the demo's.
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.old-", dir=out.parent) as trash:
        out.rename(Path(trash) / out.name)


def _settings_file(out: Path) -> Path:
    return out / SETTINGS_FILE


def print_step(call: Sequence[str]) -> None:
    """Print the command of the next step."""
    typer.secho(f"\n$ multitudes {shlex.join(call)}", bold=True)


def _evaluate(run: Path, settings: Path) -> None:
    """Evaluate the run; its figures are printed at the end of the demo."""
    from multitudes.config import load_section
    from multitudes.evaluation.config import EvaluateConfig
    from multitudes.evaluation.evaluate import evaluate, save
    from multitudes.report.formatting import TARGET_LABELS
    from multitudes.training.runs import open_run

    print_step(["evaluate", str(run), "--config", str(settings)])
    with ProgressBar(f"evaluate {METHOD}") as progress:
        config = load_section(settings, "evaluate", EvaluateConfig)
        evaluation = evaluate(open_run(run), config, progress=progress)
    save(evaluation, run)
    result = evaluation.result
    targets = f"{result['n_targets']:,} {TARGET_LABELS[result['targets']]}"
    typer.echo(f"{METHOD}: {result['users']:,} users, {targets}, {len(result['methods'])} systems; compared below")


def _recommend(out: Path, run: Path) -> "Recommendation":
    from multitudes.cli.candidates_table import print_recommendation
    from multitudes.retrieval.retriever import Retriever

    user = sample_user(run)
    call = ["recommend", f"{out}/releases", "--user", str(user), "--n", str(CANDIDATES), "--explain"]
    print_step(call)
    recommendation = Retriever.open(out / "releases").recommend(user, n=CANDIDATES)
    print_recommendation(recommendation, explain=True)
    (out / "recommend.svg").write_text(_table_svg(recommendation, f"multitudes {shlex.join(call)}"), encoding="utf-8")
    return recommendation


def sample_user(run: Path) -> Any:  # noqa: ANN401 (an integer or a text)
    """Return the first user of the evaluation's random sample, so the example is not hand-picked."""
    from multitudes.evaluation.compare import read_result

    return read_result(run, "validation")["samples"][0]["user_id"]


def _table_svg(recommendation: "Recommendation", title: str) -> str:
    """Return the printed table as an SVG of a terminal, without references to the network."""
    import re
    from io import StringIO

    from rich.console import Console

    from multitudes.cli.candidates_table import print_recommendation

    console = Console(record=True, width=_SVG_COLUMNS, file=StringIO(), force_terminal=True)
    print_recommendation(recommendation, explain=True, console=console)
    # rich links web fonts; without them the browser takes its own fixed-width font.
    return re.sub(r"@font-face {.*?}\s*", "", console.export_svg(title=title, unique_id="table"), flags=re.DOTALL)


def print_comparison(run: Path) -> dict[str, Any]:
    """Print how the run compares with other systems, whatever the outcome, and return the figures."""
    from rich.console import Console

    from multitudes.report.document import to_terminal
    from multitudes.report.evaluation_tables import methods_table

    block = comparison(run)
    console = Console()
    console.print()
    console.print(to_terminal(methods_table(block, METHOD), console.width))
    for sentence in comparison_sentences(block):
        typer.echo(fill(sentence, console.width, subsequent_indent="  "))
    typer.echo("One seed on a small data set: an interval covers other users, not another seed.")
    return block


def comparison(run: Path) -> dict[str, Any]:
    """Return the figures of a run beside those of the systems that it is compared with."""
    from multitudes.evaluation.compare import read_result

    result = read_result(run, "validation")
    methods, differences = result["methods"], result["differences"]
    known = [name for name in COMPARED_WITH if name in methods]
    return {
        **{name: result[name] for name in ("targets", "budget", "users")},
        "methods": {name: methods[name] for name in (METHOD, *known)},
        "differences": {name: differences[name] for name in known},
    }


def comparison_sentences(block: dict[str, Any]) -> list[str]:
    """Return one sentence for each comparison; none claims more than its interval shows."""
    from multitudes.report.formatting import NOT_COMPARED, format_difference, is_same_list, served_words, verdict_words

    sentences, budget = [], block["budget"]
    for name, gains in block["differences"].items():
        meaning = COMPARED_WITH[name]
        if is_same_list(block, name, METHOD):
            sentences.append(f"{name}, {meaning}: {NOT_COMPARED}")
            continue
        hits, served = gains[f"hr@{budget}"], gains[f"served@{budget}"]
        sentences.append(
            f"{METHOD} {verdict_words(hits)} {name}, {meaning}: {format_difference(hits)}; it"
            f" {served_words(served)}: {format_difference(served)}"
        )
    return sentences


def _print_next_steps(out: Path, recommendation: "Recommendation", *, is_sample: bool) -> None:
    typer.echo("try next:")
    typer.echo(f"  open {out}/report.html in a browser")
    if is_sample:
        films = ",".join(str(candidate.item_id) for candidate in recommendation.candidates[:2])
        call = f"multitudes recommend {out}/releases --history {films} --followed-topics Horror,Comedy"
        typer.echo(f"  {call} --explain --n 20")
        typer.echo("  multitudes demo ratings.csv --items movies.csv   (your own files)")
    typer.echo(f"  multitudes recommend {out}/releases --user {recommendation.user_id} --rows 4 --n 5")
    print_next("explore", f"{out}/releases")
    print_next("serve", f"{out}/releases", label="or")
