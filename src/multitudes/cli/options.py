"""Options of several commands: ``--set SECTION.KEY=VALUE``, which counts more than the file; ``--map COLUMN=OURS``."""

import re
import tomllib
from collections.abc import Iterable, Mapping
from typing import Annotated, Any

import typer

from multitudes.errors import UsageError

SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="One setting of the file, with its section: SECTION.KEY=VALUE; repeatable."
    ),
]

MapOption = Annotated[
    list[str] | None,
    typer.Option(
        "--map",
        metavar="COLUMN=OURS",
        help="Which column is which: userId=user_id; price= leaves one out; repeatable.",
    ),
]

_KEY = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")


def reject_options(call: str, given: Mapping[str, object]) -> None:
    """Raise UsageError if an option is given (not None or False) that ``call``, as ``keys list``, does not read."""
    for option, value in given.items():
        if value is not None and value is not False:
            raise UsageError(f"'{call}' does not read {option}; leave it out")


def parse_overrides(texts: Iterable[str] | None, *sections: str) -> dict[str, Any]:
    """Return the settings of ``--set`` as nested tables, as TOML has them; of two values of one key, the last counts.

    A text is such as ``train.epochs=3``; a value that is not TOML is a string: quotes may be left out. ``sections`` are
    those that the command reads; none: its file has no fixed ones.

    Raises:
        UsageError: a text has another form, or names another section.
    """
    from multitudes.config import deep_merge

    return deep_merge(*(_parse_override(text, sections) for text in texts or ()))


def _parse_override(text: str, sections: tuple[str, ...]) -> dict[str, Any]:
    path, equals, value = (part.strip() for part in text.partition("="))
    if not equals or not _KEY.fullmatch(path) or path in sections:
        example = "train.epochs=3" if "train" in sections or not sections else f"{sections[0]}.KEY=VALUE"
        raise UsageError(f"--set '{text}'; expected a setting and its value, such as {example}")
    keys = path.split(".")
    if sections:
        _check_section(path, keys, sections)
    table: Any = _toml_value(value)
    for key in reversed(keys):
        table = {key: table}
    result: dict[str, Any] = table
    return result


def _toml_value(text: str) -> object:
    try:
        table = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    return table["value"] if len(table) == 1 else text


def _check_section(path: str, keys: list[str], sections: tuple[str, ...]) -> None:
    """Check that a key begins with one of the sections, and names a setting of it; the error names the nearest key."""
    from multitudes.config import SECTIONS, section_config, suggestion

    if keys[0] in sections and len(keys) > 1:
        return
    read = ", ".join(f"[{section}]" for section in sections)
    if keys[0] in SECTIONS and keys[0] not in sections:
        raise UsageError(f"--set {path}: this command does not read [{keys[0]}]; it reads {read}")
    known = [f"{section}.{name}" for section in sections for name in section_config(section).model_fields]
    raise UsageError(f"--set {path}: no such setting{suggestion(path, known)}")
