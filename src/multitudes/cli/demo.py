"""``multitudes demo``: the whole path on MovieLens-small, which is shipped with the package."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from multitudes.cli.demo_comparison import show as show_comparison
from multitudes.cli.demo_folder import SETTINGS_FILE, own_folder
from multitudes.cli.output import print_json, progress_bar

if TYPE_CHECKING:
    from multitudes.data.prepared import Prepared
    from multitudes.retrieve.recommendation import Recommendation

_SAMPLE = "movielens-small"
_METHODS = ("joint", "single")
_CANDIDATES = 20
_PICTURE_WIDTH = 132


def command(
    out: Annotated[Path, typer.Option(help="Folder to write.")] = Path("multitudes-demo"),
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the folder of an earlier demo.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line.")] = False,
) -> None:
    """Show the whole path on the films of MovieLens-small.

    Prepare, train, evaluate, publish, recommend, report: each step with the command that does the same.
    """
    from multitudes.cli.extras import require_report, require_torch

    require_torch()
    require_report()
    began = time.perf_counter()
    with own_folder(out, overwrite):
        prepared = _prepare(out)
        for method in _METHODS:
            _train(out, prepared, method)
        for method in _METHODS:
            _evaluate(out, method)
        _publish(out)
        answer = _recommend(out)
        _report(out)
        block = show_comparison(out)
    typer.echo(f"\n{out}: everything above, written in {time.perf_counter() - began:.0f} s")
    _what_next(out, answer)
    if json:
        print_json({"out": str(out), "user_id": answer.user_id, **block})


def _step(call: str) -> None:
    """Print the command that does the same as the step that follows."""
    typer.secho(f"\n$ multitudes {call}", bold=True)


def _settings(out: Path) -> Path:
    return out / SETTINGS_FILE


def _prepare(out: Path) -> "Prepared":
    from multitudes.cli.prepare import show
    from multitudes.config import load_section
    from multitudes.data.prepare import PrepareConfig, prepare
    from multitudes.data.sample import sample_path

    data = sample_path(_SAMPLE)
    _step(f"prepare {data} --out {out}/prepared --config {_settings(out)}")
    with progress_bar("prepare") as progress:
        prepared = prepare(data, out / "prepared", load_section(_settings(out), "prepare", PrepareConfig), progress)
    show(prepared)
    return prepared


def _train(out: Path, prepared: "Prepared", method: str) -> None:
    from multitudes.cli.train import MethodName, run_config, show
    from multitudes.train.loop import train

    _step(f"train {out}/prepared --method {method} --out {out}/{method} --config {_settings(out)}")
    with progress_bar(f"train {method}") as progress:
        train(prepared, run_config(MethodName(method), 0, _settings(out)), out / method, progress=progress)
    show(out / method)


def _evaluate(out: Path, method: str) -> None:
    from multitudes.evaluate.evaluate import evaluate, save
    from multitudes.report.words import TARGETS
    from multitudes.train.run import TrainedRun

    _step(f"evaluate {out}/{method}")
    with progress_bar(f"evaluate {method}") as progress:
        evaluation = evaluate(TrainedRun.open(out / method), progress=progress)
    save(evaluation, out / method)
    result = evaluation.result
    targets = f"{result['n_targets']:,} {TARGETS[result['targets']]}"
    typer.echo(f"{method}: {result['users']:,} users, {targets}, {len(result['methods'])} systems; compared below")


def _publish(out: Path) -> None:
    from multitudes.cli.publish import show
    from multitudes.publish.publish import publish

    _step(f"publish {out}/joint --to {out}/releases")
    with progress_bar("publish") as progress:
        done = publish(out / "joint", out / "releases", progress=progress)
    show(out / "releases", done)


def _recommend(out: Path) -> "Recommendation":
    """Recommend to the first user of the evaluation's sample, who was drawn and not chosen."""
    from multitudes.cli.candidates_table import show
    from multitudes.config import load_section
    from multitudes.evaluate.compare import read_result
    from multitudes.retrieve.plan import RetrieveConfig
    from multitudes.retrieve.retriever import Retriever

    user = read_result(out / "joint", "test")["samples"][0]["user_id"]
    call = f"recommend {out}/releases --user {user} --n {_CANDIDATES} --explain"
    _step(f"{call} --config {_settings(out)}")
    retriever = Retriever.open(out / "releases", load_section(_settings(out), "retrieve", RetrieveConfig))
    answer = retriever.recommend(user, n=_CANDIDATES)
    show(answer, explain=True)
    (out / "recommend.svg").write_text(_picture(answer, f"multitudes {call}"), encoding="utf-8")
    return answer


def _picture(answer: "Recommendation", title: str) -> str:
    """Return the table as the picture of a terminal, which asks the network for nothing."""
    import re
    from io import StringIO

    from rich.console import Console

    from multitudes.cli.candidates_table import show

    console = Console(record=True, width=_PICTURE_WIDTH, file=StringIO(), force_terminal=True)
    show(answer, explain=True, console=console)
    # rich names web fonts; without them the reader's own fixed-width font is taken.
    return re.sub(r"@font-face {.*?}\s*", "", console.export_svg(title=title, unique_id="table"), flags=re.DOTALL)


def _report(out: Path) -> None:
    from multitudes.report.page import write_report

    _step(f"report {out}/joint --out {out}/report.html")
    write_report(out / "joint", out / "report.html")
    typer.echo(f"{out}/report.html: figures, segments, three users and training curves; opens in any browser")


def _what_next(out: Path, answer: "Recommendation") -> None:
    films = ",".join(str(candidate.item_id) for candidate in answer.candidates[:2])
    typer.echo("try next:")
    typer.echo(f"  open {out}/report.html in a browser")
    typer.echo(f"  multitudes recommend {out}/releases --history {films} --follows Horror,Comedy --explain --n 20")
    typer.echo(f"  multitudes evaluate {out}/joint --against {out}/single")
    typer.echo("  multitudes init my-data   (your own events: a commented configuration and example tables)")
