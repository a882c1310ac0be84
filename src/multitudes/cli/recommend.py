"""``multitudes recommend``: candidates for a user, for somebody described, or for everybody.

``multitudes export``: results for the next system, as JSON lines or flat Parquet.
"""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from multitudes.cli.output import print_json, progress_bar

if TYPE_CHECKING:
    import polars as pl

    from multitudes.batch_inference.recommender import BatchConfig
    from multitudes.ids import Id
    from multitudes.retrieval.retriever import Retriever

_MAX_COUNT = 10**9  # beyond it a number is a slip


def recommend_command(
    releases: Annotated[Path, typer.Argument(help="Folder of releases, or one version's own folder.")],
    user: Annotated[str | None, typer.Option(help="Id of a user of the data.")] = None,
    history: Annotated[str | None, typer.Option(help="ITEM,ITEM: ids, newest last, of somebody else.")] = None,
    follows: Annotated[str | None, typer.Option(help="TOPIC,TOPIC that somebody else follows.")] = None,
    everybody: Annotated[bool, typer.Option("--all", help="Every user of the release; needs --out.")] = False,
    more: Annotated[
        Path | None,
        typer.Option(help="With --all: Parquet of others: user_id, history, followed_topics."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for --all; what is done there is kept. See `multitudes export`.")
    ] = None,
    vectors: Annotated[bool, typer.Option("--vectors", help="With --all: write the users' vectors too.")] = False,
    processes: Annotated[int, typer.Option(min=1, help="With --all: that answer side by side.")] = 1,
    shard_users: Annotated[int, typer.Option(min=1, max=_MAX_COUNT, help="With --all: users of a file.")] = 10_000,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="With --all: begin the folder anew.")] = False,
    n: Annotated[int, typer.Option("--n", min=1, max=_MAX_COUNT, help="How many candidates.")] = 100,
    exclude: Annotated[str, typer.Option(help="ITEM,ITEM that must not come back.")] = "",
    request: Annotated[str, typer.Option(help="Name of the request; the same name draws the same topics.")] = "",
    config: Annotated[Path | None, typer.Option(help="TOML file with [retrieve], in place of the release's.")] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Show the interests and what each brought.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line.")] = False,
) -> None:
    """Recommend to a user, to somebody described, or to all.

    Somebody is described by a history and followed topics; all users are answered into a folder of shards.
    """
    from multitudes.config import load_section
    from multitudes.errors import UsageError
    from multitudes.retrieval.config import RetrieveConfig

    described = history is not None or follows is not None
    if sum((user is not None, described, everybody)) != 1:
        raise UsageError("say for whom: --user ID, or --history and --follows, or --all")
    if everybody != (out is not None):
        raise UsageError("--all and --out FOLDER belong together")
    if (more is not None or vectors) and not everybody:
        raise UsageError("--more and --vectors are for --all")
    if everybody and explain:
        raise UsageError("--explain is for one user; --vectors writes the interests of all")
    if everybody and exclude:
        raise UsageError("--exclude is for one user; nobody of --all gets an item again in any case")
    settings = load_section(config, "retrieve", RetrieveConfig) if config else None
    if out is not None:
        from multitudes.batch_inference.recommender import BatchConfig

        asked = BatchConfig(n=n, request=request, vectors=vectors, retrieve=settings)
        _recommend_all(releases, out, asked, more, shard_users, processes, overwrite, json)
        return
    from multitudes.retrieval.retriever import Retriever

    retriever = Retriever.open(releases, settings)
    answer = retriever.recommend(
        None if user is None else _parse_id(user, retriever.release.user_ids, "user"),
        history=_item_ids(history, retriever) if described else None,
        followed_topics=_split_list(follows) if described else None,
        n=n,
        exclude=_item_ids(exclude, retriever),
        request_id=request,
    )
    if json:
        print_json(answer.to_dict(explain))
        return
    from multitudes.cli.candidates_table import print_recommendation

    print_recommendation(answer, explain)


def _recommend_all(
    releases: Path,
    out: Path,
    asked: "BatchConfig",
    more: Path | None,
    shard_users: int,
    processes: int,
    overwrite: bool,
    json: bool,
) -> None:
    from multitudes.batch_inference.runner import recommend_all

    with progress_bar("recommend") as progress:
        done = recommend_all(
            releases,
            out,
            asked,
            extra_users=more,
            shard_users=shard_users,
            processes=processes,
            overwrite=overwrite,
            progress=progress,
        )
    filled = f"{done.degraded:,} users filled with popular items"
    typer.echo(f"{out}: {done.users:,} users, {done.candidates:,} candidates, {filled}")
    if json:
        print_json({"out": str(out), **done._asdict()})


def _item_ids(text: str | None, retriever: "Retriever") -> "list[Id]":
    return [_parse_id(item, retriever.release.items["item_id"], "item") for item in _split_list(text)]


def _parse_id(text: str, ids: "pl.Series", what: str) -> "Id":
    from multitudes.ids import parse_id

    return parse_id(text, "int64" if ids.dtype.is_integer() else "string", what)


def _split_list(text: str | None) -> list[str]:
    return [part.strip() for part in (text or "").split(",") if part.strip()]


class ExportKind(StrEnum):
    """What can be exported."""

    RESULTS = "results"


def export_command(
    what: Annotated[ExportKind, typer.Argument(help="What to export.")],
    source: Annotated[Path, typer.Argument(help="Folder written by `multitudes recommend --all --out`.")],
    to: Annotated[Path, typer.Option(help=".jsonl: one user a line; .parquet: one candidate a row.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing file.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line.")] = False,
) -> None:
    """Write results as JSON lines or flat Parquet.

    JSON lines hold one user a line, Parquet one candidate a row.
    """
    from multitudes.batch_inference.results import export_results
    from multitudes.errors import UsageError

    if to.exists() and not overwrite:
        raise UsageError(f"{to}: exists; give another name or --overwrite")
    rows = export_results(source, to)
    typer.echo(f"{to}: {rows:,} rows")
    if json:
        print_json({"what": what.value, "source": str(source), "to": str(to), "rows": rows})
