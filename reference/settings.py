"""The pages of ``multitudes.toml``: every setting with its type, default and meaning."""

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin

import annotated_types

from multitudes.config import Config
from multitudes.config_template import section_config
from reference.markdown import from_docstring, page, table

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

_PAGES = {
    "data": ("Settings of the data", ("prepare", "spark")),
    "model": ("Settings of the model", ("model",)),
    "train": ("Settings of training", ("train", "execution", "linear", "pinnersage")),
    "serve": ("Settings of evaluation, index and retrieval", ("evaluate", "index", "retrieve")),
}
_FRONT = """\
`multitudes init DIR` writes a `multitudes.toml` with every setting, its default and its meaning. Commands read it with
`--config`; `--set train.epochs=3` sets one of them and counts more than the file. In Python, each section is a class
whose fields have the same names and defaults. An unknown name is an error that names the nearest one.
"""
_TYPES = {bool: "boolean", int: "integer", float: "number", str: "text", Path: "path", datetime: "time"}
_BOUNDS: dict[type, tuple[str, str]] = {
    annotated_types.Ge: ("ge", "≥"),
    annotated_types.Gt: ("gt", ">"),
    annotated_types.Le: ("le", "≤"),
    annotated_types.Lt: ("lt", "<"),
}


def pages() -> dict[str, str]:
    """Return the pages by name."""
    written = {f"settings/{name}.md": _page(title, sections) for name, (title, sections) in _PAGES.items()}
    rows = [
        [f"[`[{section}]`](settings/{name}.md#{section})", f"`{_class(section)}`", _summary(section_config(section))]
        for name, (_, sections) in _PAGES.items()
        for section in sections
    ]
    beside = "The settings of the service are in a file of their own: [service-settings.md](service-settings.md)."
    return {"settings.md": page("Settings", _FRONT, table(["section", "class", "holds"], rows), beside), **written}


def _page(title: str, sections: tuple[str, ...]) -> str:
    return page(title, *(text for section in sections for text in _section(section, section_config(section))))


def _class(section: str) -> str:
    return section_config(section).__name__


def _summary(config: type[Config]) -> str:
    return from_docstring((config.__doc__ or "").split("\n\n")[0].replace("\n", " "))


def _section(name: str, config: type[Config]) -> Iterator[str]:
    """Yield the heading and the table of a section, then those of its tables."""
    heading = "##" if "." not in name else "###"
    yield f"{heading} {name}"
    yield f"`[{name}]`. {_summary(config)}"
    fields = config.model_fields
    yield settings_table({key: field for key, field in fields.items() if not _is_config(field.annotation)})
    for key, field in fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, Config):
            yield from _section(f"{name}.{key}", inner)


def settings_table(fields: "dict[str, FieldInfo]") -> str:
    """Return a table of settings; empty without any."""
    rows = [
        [f"`{key}`", type_text(field.annotation) + _bounds(field), _default(field), field.description or ""]
        for key, field in fields.items()
    ]
    return table(["setting", "type", "default", "meaning"], rows) if rows else ""


def _is_config(annotation: Any) -> bool:  # noqa: ANN401 (any annotation)
    return isinstance(annotation, type) and issubclass(annotation, Config)


def type_text(annotation: Any) -> str:  # noqa: ANN401 (any annotation)
    """Return a type in the words of TOML."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in arguments)
    if origin in (UnionType, Union):
        return " or ".join(type_text(one) for one in arguments if one is not NoneType)
    if origin is tuple:
        return f"list of {type_text(arguments[0])}"
    if origin is dict:
        return f"table of {type_text(arguments[1])}"
    if isinstance(annotation, type):
        return _TYPES.get(annotation, "table")
    return type_text(arguments[0]) if arguments else "any value"


def _bounds(field: "FieldInfo") -> str:
    texts = [
        f"{sign} {getattr(bound, name):,}"
        for bound in field.metadata
        for name, sign in [_BOUNDS.get(type(bound), ("", ""))]
        if name
    ]
    return ", " + ", ".join(texts) if texts else ""


def _default(field: "FieldInfo") -> str:
    value = field.get_default(call_default_factory=True)
    if value is None:
        return "unset"
    if isinstance(value, Config):
        return ""
    return f"`{json.dumps(value, ensure_ascii=False, default=str)}`"
