"""``multitudes recommend``: candidates for one user or all users; a narrow terminal gets fewer columns of them."""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from multitudes.api import MAX_LIST
from multitudes.cli.options import SetOption, parse_overrides, reject_options
from multitudes.cli.output import print_json, print_next, print_table, prints_json
from multitudes.errors import UsageError
from multitudes.ids import parse_id
from multitudes.progress import ProgressBar, amount
from multitudes.safe_html import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    import polars as pl
    from rich.console import Console
    from rich.text import Text

    from multitudes.api import Candidate, Interest
    from multitudes.batch_inference.recommender import BatchConfig
    from multitudes.ids import Id
    from multitudes.retrieval.config import RetrieveConfig
    from multitudes.retrieval.response import Recommendation
    from multitudes.retrieval.retriever import Retriever

_WIDE = 110  # a terminal of this many columns or more shows everything
_COLOURS = ("cyan", "green", "magenta", "yellow", "blue", "bright_red", "bright_cyan", "bright_green", "bright_magenta")


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
    processes: Annotated[
        int | None, typer.Option(min=1, help="With --all: number of parallel processes.", show_default="1")
    ] = None,
    shard_users: Annotated[
        int | None, typer.Option(min=1, max=10**9, help="With --all: users per file.", show_default="10000")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="With --all: empty the folder first.")] = False,
    n: Annotated[
        int, typer.Option("--n", min=1, max=MAX_LIST, help="Number of candidates; with --rows, of each row.")
    ] = 100,
    rows: Annotated[
        int | None,
        typer.Option(help="Number of rows, at most: in place of one list, one for each interest and followed topic."),
    ] = None,
    exclude: Annotated[str | None, typer.Option(help="ITEM,ITEM to leave out.")] = None,
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
    anonymous = history is not None or followed_topics is not None
    if sum((user is not None, anonymous, all_users)) != 1:
        raise UsageError("give one of: --user ID; --history and --followed-topics; --all")
    for_all = {
        "--out": out,
        "--extra-users": extra_users,
        "--export": export,
        "--vectors": vectors,
        "--processes": processes,
        "--shard-users": shard_users,
        "--overwrite": overwrite,
    }
    if all_users:
        reject_options("recommend --all", {"--rows": rows, "--exclude": exclude})
        if out is None:
            raise UsageError("--all writes a folder; give --out FOLDER")
    else:
        reject_options(f"recommend {'--history' if anonymous else '--user'}", for_all)
    settings = _retrieve_config(releases, config, overrides)
    if out is not None:
        from multitudes.batch_inference.recommender import BatchConfig

        batch = BatchConfig(n=n, request=request_id, vectors=vectors, explain=explain, retrieve=settings)
        how = {"processes": processes, "shard_users": shard_users, "extra_users": extra_users, "overwrite": overwrite}
        _recommend_all(releases, out, export, batch, {name: value for name, value in how.items() if value is not None})
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
        request_id=request_id,
    )
    if prints_json():
        print_json(recommendation.to_dict(explain))
        return
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
    releases: Path, out: Path, export: Path | None, batch: "BatchConfig", options: "dict[str, Any]"
) -> None:
    """Recommend to all users; ``options`` are those of ``recommend_all`` that were given."""
    from multitudes.batch_inference.results import check_export, export_results
    from multitudes.batch_inference.runner import recommend_all

    if export is not None:
        check_export(export)
    with ProgressBar("recommend") as progress:
        counts = recommend_all(releases, out, batch, progress=progress, **options)
    users, candidates, filled = counts.users, counts.candidates, counts.degraded
    typer.echo(
        f"{out}: {amount(users, 'user')}, {amount(candidates, 'candidate')}; filled with popular items: {filled:,}"
    )
    record = {"out": str(out), **counts._asdict()}
    if export is not None:
        rows = export_results(out, export)
        typer.echo(f"{export}: {amount(rows, 'row')}")
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
    return parse_id(text, "int64" if ids.dtype.is_integer() else "string", what)


def _split_list(text: str | None) -> list[str]:
    return [value.strip() for value in (text or "").split(",") if value.strip()]


def print_recommendation(recommendation: "Recommendation", explain: bool, console: "Console | None" = None) -> None:
    """Print a recommendation to ``console``, by default the terminal."""
    from rich.console import Console
    from rich.text import Text

    console = console or Console()
    who = "anonymous user" if recommendation.user_id is None else _one_line(f"user {recommendation.user_id}")
    n = amount(len(recommendation.candidates), "candidate")
    console.print(Text.assemble((who, "bold"), f"  ·  {n}  ·  release {recommendation.release}"))
    for note in _notes(recommendation):
        console.print(Text(note, style="yellow"))
    if explain and recommendation.interests:
        console.print()
        _print_interests(console, recommendation)
    for row in recommendation.rows:
        console.print()
        console.print(Text(_one_line(row.title), style=f"bold {_colour(row.interest)}"))
        _print_candidates(console, row.candidates, explain=False)
    if not recommendation.rows:
        console.print()
        _print_candidates(console, recommendation.candidates, explain)


def _notes(recommendation: "Recommendation") -> list[str]:
    notes = [recommendation.reason] if recommendation.reason else []
    for what, unknown in (("items", recommendation.unknown_items), ("topics", recommendation.unknown_topics)):
        if unknown:
            notes.append(f"unknown {what}: {', '.join(map(repr, unknown))}")
    return notes


def _print_interests(console: "Console", recommendation: "Recommendation") -> None:
    from rich.text import Text

    wide = console.width >= _WIDE
    places = Counter(candidate.interest for candidate in recommendation.candidates)
    hidden = set() if wide else {"kind", "newest"}
    hidden |= {"share"} if max(one.share for one in recommendation.interests) == 1 else set()  # one vector has the list
    rows: list[dict[str, Text]] = []
    for interest in recommendation.interests:
        colour = _colour(interest.number)
        row = {
            "#": Text(str(interest.number), style=colour),
            "interest": Text(_one_line(interest.name), style=f"bold {colour}"),
            "kind": Text(interest.kind, style="dim"),
            "share": Text.assemble(
                f"{interest.share:4.0%} ", ("█" * round(interest.share * 10) if wide else "", colour)
            ),
            "places": Text(str(places[interest.number])),
            "from the history": _origin(interest),
            "newest": Text(_age_text(interest.age_days)),
        }
        rows.append({name: row[name] for name in row if name not in hidden})
    _print_rows(console, rows)


def _print_candidates(console: "Console", candidates: "Sequence[Candidate]", explain: bool) -> None:
    from rich.text import Text

    wide = console.width >= _WIDE
    hidden = {"id", "score"} if explain and not wide else set() if explain else {"because of", "found by"}
    hidden |= set() if explain and wide else {"interest"}
    rows: list[dict[str, Text]] = []
    for candidate in candidates:
        interest = Text(_one_line(candidate.interest_name or candidate.source), style=_colour(candidate.interest))
        for_interest = "" if interest.plain.startswith("like ") else "for "  # a name may be "like Alien (1979)"
        because = candidate.because if wide else candidate.because[:1]
        reasons = Text(_one_line(" · ".join(one.title or str(one.item_id) for one in because)))
        row = {
            "rank": Text(str(candidate.rank)),
            "item": Text(_one_line(candidate.title or str(candidate.item_id))),
            "interest": interest,
            "because of": reasons if wide or because else Text(for_interest) + interest,
            "id": Text(_one_line(str(candidate.item_id))),
            "score": Text(f"{candidate.score:.2f}"),
            "found by": Text(" ").join(Text(str(k), style=_colour(k)) for k in candidate.found_by),
        }
        rows.append({name: row[name] for name in row if name not in hidden})
    _print_rows(console, rows)


def _print_rows(console: "Console", rows: "Sequence[dict[str, Text]]") -> None:
    """Print a table with the keys as headings."""
    headings = list(rows[0]) if rows else []
    right = ("#", "places", "newest", "rank", "score")
    print_table(([*row.values()] for row in rows), headings, right, console)


def _origin(interest: "Interest") -> "Text":
    """Return the origin of an interest: example items, or its kind if it has none."""
    from rich.text import Text

    if interest.items:
        more = f" … {interest.n_items} in all" if interest.n_items > len(interest.items) else ""
        return Text(_one_line(" · ".join(interest.items) + more))
    origin = {"explicit": "a topic that the user follows", "unconditioned": "the entire history"}
    return Text(origin.get(interest.kind, ""), style="dim")


def _one_line(text: str) -> str:
    """Return a text with spaces in place of line ends and terminal escapes."""
    return printable(text).replace("\n", " ")


def _age_text(days: float | None) -> str:
    if days is None:
        return ""
    if days < 1:
        return "today"
    return f"{days:,.0f} days ago" if days < 730 else f"{days / 365.25:,.0f} years ago"


def _colour(number: int | None) -> str:
    return "dim" if number is None else _COLOURS[number % len(_COLOURS)]
