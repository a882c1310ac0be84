"""The pages of ``multitudes.toml``: every setting with its type, default and meaning."""

import json
import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, Union, get_args, get_origin

import annotated_types

from multitudes.config import SECTIONS, Config, choices, section_config
from multitudes.study.config import StudyConfig
from multitudes_lab.simulation.config import ExperimentConfig
from multitudes_milvus.config import MilvusConfig
from multitudes_pgvector.config import PgvectorConfig
from multitudes_spark.session import SparkConfig
from reference.markdown import from_docstring, page, table

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

_PAGES = {
    "data": ("Settings of the data", ("prepare", "engine")),
    "model": ("Settings of the model", ("model",)),
    "train": ("Settings of training", ("train", "execution", "linear", "pinnersage")),
    "serve": ("Settings of evaluation, index and retrieval", ("evaluate", "index", "retrieve")),
}
_FILES: dict[str, tuple[str, type[Config]]] = {
    "study": ("Settings of a study, STUDY.toml", StudyConfig),
    "world": ("Settings of a simulated test, WORLD.toml", ExperimentConfig),
}
# Section -> the kinds that add-ons bring, and their settings, which are in the table `options`.
_OPTIONS: dict[str, dict[str, type[Config]]] = {
    "engine": {"spark": SparkConfig},
    "index": {"milvus": MilvusConfig, "pgvector": PgvectorConfig},
}
_FRONT = """\
`multitudes init DIR` writes a `multitudes.toml` with every setting, its default and its meaning. Commands read it with
`--config`; `--set train.epochs=3` sets one of them and counts more than the file. In Python, each section is a class
whose fields have the same names and defaults. An unknown name is an error that names the nearest one.
"""
_BESIDE = """\
Files of their own:

| file | of |
| --- | --- |
| [STUDY.toml](settings/study.md) | `multitudes study` ([studies](study.md)) |
| [WORLD.toml](settings/world.md) | `multitudes simulate` ([a simulated test](simulation.md)) |
| [serve.toml](service-settings.md) | `multitudes serve` ([the service](service.md)) |
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
    written |= {f"settings/{name}.md": page(title, *_body("", config)) for name, (title, config) in _FILES.items()}
    return {"settings.md": page("Settings", _FRONT, table(["section", "class", "holds"], rows), _BESIDE), **written}


def _page(title: str, sections: tuple[str, ...]) -> str:
    texts = (text for section in sections for text in (*_section(section, section_config(section)), *_options(section)))
    return page(title, *texts)


def _options(section: str) -> Iterator[str]:
    """Yield the settings of the kinds that add-ons bring."""
    for kind, config in _OPTIONS.get(section, {}).items():
        yield from (f"### {section}.options of {kind}", _summary(config), *_body("", config))


def _class(section: str) -> str:
    return section_config(section).__name__


def _summary(config: type[Config]) -> str:
    sentence = (config.__doc__ or "").split("\n\n")[0].replace("\n", " ")
    sentence = re.sub(r"^Section (?:``)?\[[\w.]+\](?:``)?: |, section \[\w+\](?=[.;])", "", sentence)
    return from_docstring(sentence[0].upper() + sentence[1:])


def _section(name: str, config: type[Config]) -> Iterator[str]:
    """Yield the heading and the table of a section, then those of its tables."""
    heading = "##" if "." not in name or name.endswith(".NAME") else "###"
    yield f"{heading} {name}"
    yield f"`[{name}]`. {_summary(config)}"
    yield from _body(f"{name}.", config)


def _body(prefix: str, config: type[Config]) -> Iterator[str]:
    """Yield the table of the settings of a class, then the sections of those that are tables."""
    tables = {key: inner for key, field in config.model_fields.items() if (inner := table_of(field.annotation))}
    yield settings_table({key: field for key, field in config.model_fields.items() if key not in tables})
    for key, inner in tables.items():
        if inner.__name__ in {address.rpartition(":")[2] for address in SECTIONS.values()}:
            yield f"{'###' if prefix else '##'} {prefix}{key}"
            yield f"As [`[{key}]`](../settings.md) of `multitudes.toml`."
        else:
            named = get_origin(config.model_fields[key].annotation) is dict
            yield from _section(f"{prefix}{key}{'.NAME' if named else ''}", inner)


def table_of(annotation: Any) -> type[Config] | None:  # noqa: ANN401 (any annotation)
    """Return the class of a setting that is a table, or of the tables with free names that it holds."""
    inner = get_args(annotation)[1] if get_origin(annotation) is dict else annotation
    return inner if isinstance(inner, type) and issubclass(inner, Config) else None


def settings_table(fields: "dict[str, FieldInfo]") -> str:
    """Return a table of settings; empty without any."""
    rows = [
        [
            f"`{key}`",
            type_text(field.annotation, *field.metadata) + _bounds(field),
            _default(field),
            from_docstring(field.description or ""),
        ]
        for key, field in fields.items()
    ]
    return table(["setting", "type", "default", "meaning"], rows) if rows else ""


def type_text(annotation: Any, *metadata: Any) -> str:  # noqa: ANN401 (any annotation)
    """Return a type in the words of TOML."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if names := choices(annotation, metadata):
        return ", ".join(f"`{value}`" for value in names)
    if origin in (UnionType, Union):
        return " or ".join(type_text(one) for one in arguments if one is not NoneType)
    if origin is tuple:
        return f"list of {type_text(arguments[0])}"
    if origin is dict:
        return "table" if arguments[1] is Any else f"table of {type_text(arguments[1])}"
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
