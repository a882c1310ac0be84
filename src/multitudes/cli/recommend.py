"""``multitudes recommend``: candidates for one user or all users."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from multitudes.cli.options import SetOption, parse_overrides
from multitudes.cli.output import print_json, print_next, prints_json
from multitudes.progress import ProgressBar

if TYPE_CHECKING:
    import polars as pl

    from multitudes.batch_inference.recommender import BatchConfig
    from multitudes.ids import Id
    from multitudes.retrieval.config import RetrieveConfig
    from multitudes.retrieval.retriever import Retriever

_MAX_COUNT = 10**9  # a larger number is a typing error


def recommend_command(
    releases: Annotated[Path, typer.Argument(help="Folder of releases, or one version's own folder.")],
    user: Annotated[str | None, typer.Option(help="Id of a user of the release.")] = None,
    history: Annotated[str | None, typer.Option(help="ITEM,ITEM: history of an anonymous user, newest last.")] = None,
    followed_topics: Annotated[str | None, typer.Option(help="TOPIC,TOPIC that an anonymous user follows.")] = None,
    all_users: Annotated[bool, typer.Option("--all", help="All users of the release; needs --out.")] = False,
    extra_users: Annotated[
        Path | None,
        typer.Option(help="With --all: Parquet of further users: user_id, history, followed_topics."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for --all; finished shards are kept, so a second run only exports.")
    ] = None,
    export: Annotated[
        Path | None,
        typer.Option(
            help="With --all: also write the results to this file: .jsonl, one user per line; or .parquet, one"
            " candidate per row. An existing file is replaced."
        ),
    ] = None,
    vectors: Annotated[bool, typer.Option("--vectors", help="With --all: write the user vectors too.")] = False,
    processes: Annotated[int, typer.Option(min=1, help="With --all: number of parallel processes.")] = 1,
    shard_users: Annotated[int, typer.Option(min=1, max=_MAX_COUNT, help="With --all: users per file.")] = 10_000,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="With --all: empty the folder first.")] = False,
    n: Annotated[
        int, typer.Option("--n", min=1, max=_MAX_COUNT, help="Number of candidates; with --rows, of each row.")
    ] = 100,
    rows: Annotated[
        int | None,
        typer.Option(help="Number of rows, at most: in place of one list, one for each interest and followed topic."),
    ] = None,
    exclude: Annotated[str, typer.Option(help="ITEM,ITEM to leave out.")] = "",
    exclude_seen: Annotated[
        bool | None,
        typer.Option(
            "--exclude-seen/--include-seen",
            help="Whether items of the history are left out.",
            show_default="as the release says",
        ),
    ] = None,
    calibration: Annotated[
        float | None,
        typer.Option(
            help="Part of the list, 0 to 1, that is divided among the tastes of the history.",
            show_default="as the release says",
        ),
    ] = None,
    request_id: Annotated[str, typer.Option(help="Id of the request; equal ids draw equal topics.")] = "",
    config: Annotated[Path | None, typer.Option(help="TOML file with [retrieve], replaces the release's.")] = None,
    overrides: SetOption = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Show the interests, and the reasons for each candidate; also with --all.")
    ] = False,
) -> None:
    """Recommend to one user, an anonymous user, or all users.

    A history and followed topics describe an anonymous user. With --all, results are written to a folder of shards.
    """
    from multitudes.errors import UsageError

    anonymous = history is not None or followed_topics is not None
    if sum((user is not None, anonymous, all_users)) != 1:
        raise UsageError("give one of: --user ID; --history and --followed-topics; --all")
    if all_users != (out is not None):
        raise UsageError("--all and --out FOLDER belong together")
    if (extra_users is not None or vectors or export is not None) and not all_users:
        raise UsageError("--extra-users, --vectors and --export are for --all")
    if all_users and exclude_seen is not None:
        raise UsageError("--exclude-seen and --include-seen are for one user; with --all, give [retrieve] exclude_seen")
    if all_users and rows is not None:
        raise UsageError("--rows is for one user; with --all, every user has one list")
    if calibration is not None and (all_users or rows is not None):
        raise UsageError("--calibration is for one list of one user; with --all, give --set retrieve.calibration=0.8")
    if all_users and exclude:
        raise UsageError(
            "--exclude is for one user; with --all, [retrieve] exclude_seen says whether seen items are left out"
        )
    settings = _retrieve_config(releases, config, overrides)
    if out is not None:
        from multitudes.batch_inference.recommender import BatchConfig

        batch = BatchConfig(n=n, request=request_id, vectors=vectors, explain=explain, retrieve=settings)
        _recommend_all(releases, out, export, batch, extra_users, shard_users, processes, overwrite)
        return
    from multitudes.retrieval.retriever import Retriever

    retriever = Retriever.open(releases, settings)
    topics = _split_list(followed_topics)
    _warn_of_unknown_topics(topics, list(retriever.release.topic_number))
    recommendation = retriever.recommend(
        None if user is None else parse_release_id(user, retriever.release.user_ids, "user"),
        history=_item_ids(history, retriever) if anonymous else None,
        followed_topics=topics if anonymous else None,
        n=n,
        rows=rows,
        exclude=_item_ids(exclude, retriever),
        exclude_seen=exclude_seen,
        calibration=calibration,
        request_id=request_id,
    )
    if prints_json():
        print_json(recommendation.to_dict(explain))
        return
    from multitudes.cli.candidates_table import print_recommendation

    print_recommendation(recommendation, explain)
    typer.echo()
    print_next("serve", releases)
    print_next("explore", releases, label="or")


def _retrieve_config(releases: Path, config: Path | None, overrides: list[str] | None) -> "RetrieveConfig | None":
    """Return the settings of --config, or with --set those of the release, changed; None: those of the release."""
    from multitudes.config import load_section, parse_with_overrides
    from multitudes.release.manifest import read_manifest
    from multitudes.release.store import release_folder
    from multitudes.retrieval.config import RetrieveConfig

    changes = parse_overrides(overrides, "retrieve")
    if config is not None or not changes:
        return load_section(config, "retrieve", RetrieveConfig, changes) if config else None
    folder = release_folder(releases)
    published = read_manifest(folder).retrieval
    where = f"{folder}/manifest.json: retrieval"
    return parse_with_overrides(RetrieveConfig, published, where, changes["retrieve"], "--set [retrieve]")


def _recommend_all(
    releases: Path,
    out: Path,
    export: Path | None,
    batch: "BatchConfig",
    extra_users: Path | None,
    shard_users: int,
    processes: int,
    overwrite: bool,
) -> None:
    from multitudes.batch_inference.results import check_export, export_results
    from multitudes.batch_inference.runner import recommend_all

    if export is not None:
        check_export(export)
    with ProgressBar("recommend") as progress:
        counts = recommend_all(
            releases,
            out,
            batch,
            extra_users=extra_users,
            shard_users=shard_users,
            processes=processes,
            overwrite=overwrite,
            progress=progress,
        )
    filled = f"{counts.degraded:,} users filled with popular items"
    typer.echo(f"{out}: {counts.users:,} users, {counts.candidates:,} candidates, {filled}")
    record = {"out": str(out), **counts._asdict()}
    if export is not None:
        rows = export_results(out, export)
        typer.echo(f"{export}: {rows:,} rows")
        record |= {"export": str(export), "rows": rows}
    print_json(record)


def _warn_of_unknown_topics(topics: list[str], known: list[str]) -> None:
    """Print each topic that the release does not have, with the nearest that it has."""
    from difflib import get_close_matches

    spellings = {topic.casefold(): topic for topic in known}
    for topic in topics:
        if topic not in known:
            match = get_close_matches(topic.casefold(), spellings, n=1, cutoff=0.5)
            hint = f"; did you mean '{spellings[match[0]]}'?" if match else ""
            typer.echo(f"multitudes: warning: '{topic}' is not a topic of this release{hint}", err=True)


def _item_ids(text: str | None, retriever: "Retriever") -> "list[Id]":
    return [parse_release_id(item, retriever.release.items["item_id"], "item") for item in _split_list(text)]


def parse_release_id(text: str, ids: "pl.Series", what: str) -> "Id":
    """Return an id of the type of ``ids``; ``what`` it is of is for the error."""
    from multitudes.ids import parse_id

    return parse_id(text, "int64" if ids.dtype.is_integer() else "string", what)


def _split_list(text: str | None) -> list[str]:
    return [value.strip() for value in (text or "").split(",") if value.strip()]
