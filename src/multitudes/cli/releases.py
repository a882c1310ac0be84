"""``multitudes releases``: what was published, and which version serves."""

from pathlib import Path
from typing import Annotated, Any

import typer

from multitudes.cli.output import print_json


def command(
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
            described = manifest.read(store.folder(version))
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
    _print(rows, problem)
    if json:
        print_json({"releases": str(releases), "current": current, "problem": problem, "versions": rows})


def _print(rows: list[dict[str, Any]], problem: str | None) -> None:
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
