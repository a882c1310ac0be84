"""``multitudes publish``: a run becomes the release that serves.

``multitudes releases``: what was published, and which version serves.

``multitudes rollback``: let an older version serve.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from multitudes.cli.output import print_json, progress_bar

if TYPE_CHECKING:
    from multitudes.publishing.publish import PublishResult


def publish_command(
    run: Annotated[Path, typer.Argument(help="Folder written by `multitudes train`.")],
    to: Annotated[Path, typer.Option(help="Folder of releases; made when missing.")],
    config: Annotated[Path | None, typer.Option(help="TOML file with [index] and [retrieve].")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line.")] = False,
) -> None:
    """Make a run the release that serves.

    The release is written aside, checked against the model and made visible by one switch.
    """
    from multitudes.cli.extras import require_torch_for

    require_torch_for(run)
    from multitudes.config import load_section
    from multitudes.index.factory import IndexConfig
    from multitudes.publishing.publish import publish
    from multitudes.retrieval.config import RetrieveConfig

    retrieve, index = load_section(config, "retrieve", RetrieveConfig), load_section(config, "index", IndexConfig)
    with progress_bar("publish") as progress:
        done = publish(run, to, retrieve=retrieve, index=index, progress=progress)
    print_published(to, done)
    if json:
        print_json(
            {
                "version": done.version,
                "releases": str(to),
                "index": done.index_info,
                "checked_users": done.checked_users,
                "largest_difference": done.largest_difference,
                "carried_items": done.carried_items,
                "waiting_items": done.waiting_items,
                "removed_items": done.removed_items,
            }
        )


def print_published(to: Path, done: "PublishResult") -> None:
    """Print what serves now, and how near its tower is to the model."""
    typer.echo(
        f"{to}: version {done.version} serves; {done.index_info['kind']} index of {done.index_info['items']:,} items;"
        f" tower equal to the model within {done.largest_difference:.0e} on {done.checked_users:,} users"
    )
    if done.carried_items or done.removed_items:
        typer.echo(f"taken over: {done.carried_items:,} items that came, {done.removed_items:,} that were removed")
    if done.waiting_items:
        typer.echo(f"{done.waiting_items:,} items that came have no vector in this release; a later one may take them")


def releases_command(
    releases: Annotated[Path, typer.Argument(help="Folder of releases.")],
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line.")] = False,
) -> None:
    """List the releases; the one that serves is marked."""
    from multitudes.errors import ArtefactError
    from multitudes.release import manifest
    from multitudes.release.store import ReleaseStore

    store = ReleaseStore(releases)
    versions = store.versions()
    current, problem = None, None
    try:
        current = store.current()
    except ArtefactError as error:  # a listing must work where a rollback is needed
        problem = str(error)
    rows: list[dict[str, Any]] = []
    for version in versions:
        try:
            described = manifest.read_manifest(store.folder(version))
        except ArtefactError as error:
            rows.append({"version": version, "serves": version == current, "problem": str(error)})
            continue
        rows.append(
            {
                "version": version,
                "serves": version == current,
                "method": described.method,
                "created_at": described.created_at.isoformat(),
                "index": described.index.get("kind", ""),
                **described.counts,
            }
        )
    _print_releases(rows, problem)
    if json:
        print_json({"releases": str(releases), "current": current, "problem": problem, "versions": rows})


def _print_releases(rows: list[dict[str, Any]], problem: str | None) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    if not rows:
        console.print("no releases yet")
    table = Table(box=None, pad_edge=False)
    for heading in ("", "version", "method", "created", "users", "items", "topics", "index"):
        table.add_column(heading, justify="right" if heading in {"users", "items", "topics"} else "left")
    for row in rows:
        mark = "→" if row["serves"] else ""
        if "problem" in row:
            table.add_row(mark, row["version"], "cannot be opened", "", "", "", "", "")
            continue
        counts = [f"{row.get(name, 0):,}" for name in ("users", "items", "topics")]
        table.add_row(
            mark, row["version"], row["method"], row["created_at"][:16].replace("T", " "), *counts, row["index"]
        )
    console.print(table)
    if problem:
        typer.echo(f"multitudes: warning: {problem}", err=True)


def rollback_command(
    releases: Annotated[Path, typer.Argument(help="Folder of releases.")],
    to: Annotated[str | None, typer.Option(help="Version; by default the one before the current.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line.")] = False,
) -> None:
    """Let an older version serve, by one switch.

    Its files are verified before. Where its index is on a server, the alias moves too.
    """
    from multitudes.index.factory import activate_index
    from multitudes.release.release import Release
    from multitudes.release.store import ReleaseStore

    store = ReleaseStore(releases)
    wanted = to or store.previous()
    release = Release.open(store.folder(wanted))
    version = store.rollback(wanted)
    activate_index(release.index)
    typer.echo(f"{releases}: version {version} serves")
    if json:
        print_json({"releases": str(releases), "version": version})
