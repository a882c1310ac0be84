"""What commands print: results to stdout, progress to stderr and only on a terminal, JSON as the last line."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer

from multitudes.progress import Progress


def print_json(record: dict[str, Any]) -> None:
    """Print ``record`` as one line of JSON, which is the last line of every ``--json`` verb."""
    typer.echo(json.dumps(record, ensure_ascii=False, allow_nan=False))


@contextmanager
def progress_bar(title: str) -> Iterator[Progress]:
    """Yield a progress callback that draws a bar with rate and time left; silent where stderr is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar
    from rich.table import Column

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}", table_column=Column(max_width=24, no_wrap=True, overflow="ellipsis")),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        # It takes what the others leave: on a narrow terminal a long note or title pushed out the count.
        TextColumn("{task.fields[note]}", table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis")),
    )
    with Bar(*columns, console=console, disable=not console.is_terminal, transient=True, expand=True) as bar:
        task = bar.add_task(title, total=None, note="")

        def report(done: int, total: int, note: str = "") -> None:
            bar.update(task, completed=done, total=total, note=note)

        yield report
