"""The file ``multitudes.toml`` with every setting, generated from the configuration of each section."""

import json
from collections.abc import Iterator, Sequence
from importlib import import_module
from textwrap import wrap
from typing import TYPE_CHECKING, Literal, get_args, get_origin

from multitudes.config import SECTIONS, Config
from multitudes.plugins import Registry

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

_LINE_WIDTH = 110


def section_config(section: str) -> type[Config]:
    """Return the configuration class of a section.

    Raises:
        ModuleNotFoundError: the section needs a package that is not installed.
    """
    module, name = SECTIONS[section].split(":")
    config: type[Config] = getattr(import_module(module), name)
    return config


def config_template() -> str:
    """Return the text of a ``multitudes.toml`` with every section, and every setting with its default and meaning."""
    lines = ["# Settings of multitudes. Every value below is the default; a line may be removed or changed.", ""]
    for section in SECTIONS:
        try:
            config = section_config(section)
        except ModuleNotFoundError as error:
            lines += [f"# [{section}] needs the package '{error.name}': pip install 'multitudes[train]'", ""]
            continue
        lines += _table_lines(section, config)
    return "\n".join(lines)


def _table_lines(name: str, config: type[Config]) -> Iterator[str]:
    """Yield the lines of a table, then those of its nested tables: TOML requires this order."""
    yield f"[{name}]"
    for field_name, field in config.model_fields.items():
        if _nested_config(field) is None:
            yield from _field_lines(field_name, field)
    yield ""
    for field_name, field in config.model_fields.items():
        nested = _nested_config(field)
        if nested is not None:
            if field.description:
                yield f"# {field.description}"
            yield from _table_lines(f"{name}.{field_name}", nested)


def _field_lines(name: str, field: "FieldInfo") -> Iterator[str]:
    note = field.description or ""
    if names := choices(field.annotation, field.metadata):
        note += f" (one of: {', '.join(map(str, names))})"
    yield from (f"# {line}" for line in wrap(note, _LINE_WIDTH))
    default = field.get_default(call_default_factory=True)
    yield f"# {name} =" if default is None else f"{name} = {_toml(default)}"


def choices(annotation: object, metadata: Sequence[object] = ()) -> tuple[str, ...]:
    """Return the values that a setting can have, built in or of a plugin; empty if it has no list of them."""
    arguments = get_args(annotation)
    if get_origin(annotation) is Literal:
        return arguments
    return next((tuple(names) for names in (*metadata, *arguments) if isinstance(names, Registry)), ())


def _nested_config(field: "FieldInfo") -> type[Config] | None:
    annotation = field.annotation
    return annotation if isinstance(annotation, type) and issubclass(annotation, Config) else None


def _toml(value: object) -> str:
    """Return a value in TOML syntax, which equals JSON for strings, numbers, booleans and lists."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {_toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value)
