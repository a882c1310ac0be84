"""``multitudes recommend``: candidates for a user, for somebody described, or for everybody."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from multitudes.cli.output import print_json, progress_bar

if TYPE_CHECKING:
    import polars as pl

    from multitudes.ids import Id
    from multitudes.retrieve.retriever import Retriever


def command(
    releases: Annotated[Path, typer.Argument(help="Folder of releases, or one version's own folder.")],
    user: Annotated[str | None, typer.Option(help="Id of a user of the data.")] = None,
    history: Annotated[str | None, typer.Option(help="ITEM,ITEM: ids, newest last, of somebody else.")] = None,
    follows: Annotated[str | None, typer.Option(help="TOPIC,TOPIC that somebody else follows.")] = None,
    everybody: Annotated[bool, typer.Option("--all", help="Every user of the release; needs --out.")] = False,
    out: Annotated[Path | None, typer.Option(help="Parquet file for --all; see `multitudes export`.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing file.")] = False,
    n: Annotated[int, typer.Option("--n", min=1, help="How many candidates.")] = 100,
    exclude: Annotated[str, typer.Option(help="ITEM,ITEM that must not come back.")] = "",
    request: Annotated[str, typer.Option(help="Name of the request; the same name draws the same topics.")] = "",
    config: Annotated[Path | None, typer.Option(help="TOML file with [retrieve], in place of the release's.")] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Show the interests and what each brought.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line.")] = False,
) -> None:
    """Recommend to a user, to somebody described, or to all.

    Somebody is described by a history and followed topics; all users are answered into a file.
    """
    from multitudes.config import load_section
    from multitudes.errors import UsageError
    from multitudes.retrieve.plan import RetrieveConfig
    from multitudes.retrieve.retriever import Retriever

    described = history is not None or follows is not None
    if sum((user is not None, described, everybody)) != 1:
        raise UsageError("say for whom: --user ID, or --history and --follows, or --all")
    if everybody != (out is not None):
        raise UsageError("--all and --out FILE belong together")
    settings = load_section(config, "retrieve", RetrieveConfig) if config else None
    retriever = Retriever.open(releases, settings)
    if out is not None:
        _to_file(retriever, out, n, request, overwrite, json)
        return
    answer = retriever.recommend(
        None if user is None else _id(user, retriever.release.user_ids, "user"),
        history=_item_ids(history, retriever) if described else None,
        follows=_split(follows) if described else None,
        n=n,
        exclude=_item_ids(exclude, retriever),
        request=request,
    )
    if json:
        print_json(answer.to_dict(explain))
        return
    from multitudes.cli.candidates_table import show

    show(answer, explain)


def _to_file(retriever: "Retriever", out: Path, n: int, request: str, overwrite: bool, json: bool) -> None:
    from multitudes.errors import UsageError
    from multitudes.retrieve.results import write_results

    if out.exists() and not overwrite:
        raise UsageError(f"{out}: exists; give another name or --overwrite")
    release = retriever.release
    types = [ids.to_arrow().type for ids in (release.user_ids, release.items["item_id"])]
    with progress_bar("recommend") as progress:
        done = write_results(retriever.recommend_all(n=n, request=request, progress=progress), out, *types)
    filled = f"{done.degraded:,} users filled with popular items"
    typer.echo(f"{out}: {done.users:,} users, {done.candidates:,} candidates, {filled}")
    if json:
        print_json({"out": str(out), "release": release.version, **done._asdict()})


def _item_ids(text: str | None, retriever: "Retriever") -> "list[Id]":
    return [_id(item, retriever.release.items["item_id"], "item") for item in _split(text)]


def _id(text: str, ids: "pl.Series", what: str) -> "Id":
    from multitudes.ids import parse

    return parse(text, "int64" if ids.dtype.is_integer() else "string", what)


def _split(text: str | None) -> list[str]:
    return [part.strip() for part in (text or "").split(",") if part.strip()]
