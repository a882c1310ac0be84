"""What commands print on stdout: tables, the command that follows, and JSON as the last line."""

import inspect
import json
import shlex
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from functools import wraps
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from multitudes.safe_html import printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line.")]
_prints_json = ContextVar("prints_json", default=False)
_shows_next = ContextVar("shows_next", default=True)


def with_json(command: Callable[..., None]) -> Callable[..., None]:
    """Return a command with the option ``--json``, unless it has one of its own."""
    signature = inspect.signature(command)
    if "json" in signature.parameters:
        return command

    @wraps(command)
    def run(*, json: bool, **given: Any) -> None:  # noqa: ANN401
        with _set(_prints_json, json):
            command(**given)

    option = inspect.Parameter("json", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=JsonOption)
    run.__signature__ = signature.replace(parameters=[*signature.parameters.values(), option])  # type: ignore[attr-defined]
    run.__annotations__ = command.__annotations__ | {"json": JsonOption}
    return run


def prints_json() -> bool:
    """Return whether the command that runs was given ``--json``."""
    return _prints_json.get()


def print_json(record: dict[str, Any]) -> None:
    """Print ``record`` as the last line of a command, if it was given ``--json``."""
    if prints_json():
        typer.echo(json.dumps(record, ensure_ascii=False, allow_nan=False))


def print_next(*words: str | Path | None, note: str = "", label: str = "next") -> None:
    """Print the command that follows, to be copied, unless a program reads what is printed.

    Of its words after ``multitudes``, None is left out; ``note`` stands between the label and the command.
    """
    command = shlex.join(["multitudes", *(str(word) for word in words if word is not None)])
    if _shows_next.get() and not prints_json():
        typer.echo(printable(f"{label}{note}: {command}"))


def print_table(
    rows: "Iterable[Sequence[str | Text]]",
    headings: Sequence[str] = (),
    right: Collection[str] = (),
    console: "Console | None" = None,
) -> None:
    """Print a table without lines to ``console``, by default the terminal.

    A text that is too long for its column goes on below; ``right`` are the headings of columns of numbers, which are
    never broken.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=bool(headings), header_style="dim")
    rows = list(rows)
    for heading in headings or [""] * max(map(len, rows), default=0):
        is_number = heading in right
        table.add_column(heading, justify="right" if is_number else "left", overflow="fold", no_wrap=is_number)
    for row in rows:
        table.add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in row))
    (console or Console()).print(table)


def hide_next() -> AbstractContextManager[None]:
    """Leave out the commands that follow, while a block runs several commands itself."""
    return _set(_shows_next, False)


@contextmanager
def _set(variable: ContextVar[bool], value: bool) -> Iterator[None]:
    token = variable.set(value)
    try:
        yield
    finally:
        variable.reset(token)


def config_words(config: Path | None) -> list[str]:
    """Return the option that gives the next command the same settings."""
    return [] if config is None else ["--config", str(config)]


def unused_path(path: Path) -> Path:
    """Return ``path``, or with the first number from 2 that makes it new."""
    numbered = (path.with_name(f"{path.stem}-{number}{path.suffix}") for number in count(2))
    return path if not path.exists() else next(one for one in numbered if not one.exists())
