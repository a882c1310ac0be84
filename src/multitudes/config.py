"""Configuration: frozen pydantic models, each defined next to the component that it configures.

``config_template`` writes the file ``multitudes.toml`` with every setting from them.
"""

import difflib
import json
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self, TypeVar, get_args, get_origin

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from multitudes.errors import UsageError, missing_add_on
from multitudes.plugins import PluginGroup, Registry, load_plugin, plugins

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo
    from pydantic_core import ErrorDetails

# Section of multitudes.toml -> "module:class" of its configuration. The module is imported only when it is used, since
# [model], [train] and [execution] need the extra `train`.
SECTIONS = {
    "prepare": "multitudes.data.prepare:PrepareConfig",
    "engine": "multitudes.data.engine_config:EngineConfig",
    "model": "multitudes.nn.user_tower_config:UserTowerConfig",
    "train": "multitudes.training.config:TrainConfig",
    "execution": "multitudes.training.execution:ExecutionConfig",
    "linear": "multitudes.linear.run:LinearConfig",
    "pinnersage": "multitudes.pinnersage.clustering:PinnerSageConfig",
    "evaluate": "multitudes.evaluation.config:EvaluateConfig",
    "index": "multitudes.index.factory:IndexConfig",
    "retrieve": "multitudes.retrieval.config:RetrieveConfig",
}

NO_OVERRIDES: Mapping[str, Any] = {}
_LINE_WIDTH = 110  # of the template


class Config(BaseModel):
    """Frozen settings. An unknown key is an error that names the nearest key."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @field_validator("*", mode="before")
    @classmethod
    def _reject_bool_as_number(cls, value: object, info: ValidationInfo) -> object:
        annotation = cls.model_fields[str(info.field_name)].annotation
        types = {annotation, *get_args(annotation)}
        if isinstance(value, bool) and types & {int, float} and bool not in types:
            raise ValueError(f"expected a number, not {str(value).lower()}")
        return value


C = TypeVar("C", bound=Config)


class PluggableConfig(Config):
    """Settings of a component of which plugins bring more kinds. The object of a kind has the class of its settings."""

    section: ClassVar[str]
    group: ClassVar[PluginGroup]
    built_in: ClassVar[tuple[str, ...]]
    add_ons: ClassVar[tuple[str, ...]]  # kinds of this repository, and the add-ons that bring them

    kind: str
    options: dict[str, Any] = {}

    @field_validator("kind")
    @classmethod
    def _check_kind(cls, kind: str) -> str:
        if kind in cls.built_in or kind in plugins(cls.group):
            return kind
        if kind in cls.add_ons:
            raise missing_add_on(f"[{cls.section}] kind = '{kind}'", kind)
        raise ValueError(f"unknown kind{suggestion(kind, (*cls.built_in, *plugins(cls.group)))}")

    @model_validator(mode="after")
    def _check_options(self) -> Self:
        if self.kind not in self.built_in:
            self.parse_options()
        return self

    def plugin(self) -> Any:  # noqa: ANN401 (of the protocol of the group)
        """Return the object of the kind, which is a plugin's."""
        return load_plugin(self.group, self.kind)

    def parse_options(self) -> Config:
        """Return the settings of the kind, which is a plugin's.

        Raises:
            UsageError: a key is unknown or a value has the wrong type or range.
        """
        settings: Config = parse(self.plugin().settings, self.options, f"[{self.section}.options] of {self.kind}")
        return settings


def _check_unique(seeds: tuple[int, ...]) -> tuple[int, ...]:
    if len(set(seeds)) < len(seeds):
        raise ValueError("a seed is given twice")
    return seeds


def _check_name(name: str) -> str:
    if not name or "/" in name or name.startswith("."):
        raise ValueError("cannot name a folder or a row; expected letters, digits, - and _")
    return name


Name = Annotated[str, AfterValidator(_check_name)]  # of a folder, or of a row in a table
Seeds = Annotated[tuple[int, ...], AfterValidator(_check_unique)]  # of repetitions that are compared


def parse(model: type[C], values: dict[str, Any], where: str) -> C:
    """Build ``model`` from ``values``; ``where`` names their source in the error.

    Raises:
        UsageError: a key is unknown or a value has the wrong type or range.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise UsageError(f"{where}: {_first_problem(model, error)}") from None


def parse_with_overrides(
    model: type[C], values: dict[str, Any], where: str, overrides: Mapping[str, Any], option: str = "--set"
) -> C:
    """Build ``model`` from the ``values`` of ``where``, changed by the ``overrides`` of ``option``.

    The values are checked alone first, so that an error names the source that is wrong.

    Raises:
        UsageError: a key is unknown or a value has the wrong type or range.
    """
    config = parse(model, values, where)
    return parse(model, deep_merge(values, overrides), option) if overrides else config


def load_section(path: Path | None, section: str, model: type[C], overrides: Mapping[str, Any] = NO_OVERRIDES) -> C:
    """Read ``[section]`` of a TOML file as ``model``; without a file or a section, the defaults.

    ``overrides`` are tables of settings by section, which count more than the file.

    Raises:
        UsageError: the file is missing, is not TOML, or holds a wrong key or value.
    """
    values = {} if path is None else read_sections(path).get(section, {})
    where = "defaults" if path is None else f"{path}: [{section}]"
    return parse_with_overrides(model, values, where, overrides.get(section, {}), f"--set [{section}]")


def read_sections(path: Path) -> dict[str, Any]:
    """Read a TOML file in which every section is one of ``SECTIONS``.

    Raises:
        UsageError: the file is missing, is not TOML, or has an unknown section.
    """
    tables = load_toml(path, "write one with: multitudes init DIR")
    for name in tables:
        if name not in SECTIONS:
            raise UsageError(f"{path}: unknown section [{name}]{suggestion(name, tuple(SECTIONS))}")
    return tables


def load_toml(path: Path, advice: str) -> dict[str, Any]:
    """Read a TOML file; if it is missing, the error ends with ``advice``.

    Raises:
        UsageError: the file is missing, a folder, or not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"{path}: no such configuration file; {advice}") from None
    except IsADirectoryError:
        raise UsageError(f"{path}: a folder; expected a TOML file; {advice}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: not a TOML file: {error}") from None


def deep_merge(*tables: Mapping[str, Any]) -> dict[str, Any]:
    """Return the union of nested tables; for a key that several tables have, the last value counts."""
    merged: dict[str, Any] = {}
    for table in tables:
        for key, value in table.items():
            are_tables = isinstance(value, Mapping) and isinstance(merged.get(key), dict)
            merged[key] = deep_merge(merged[key], value) if are_tables else value
    return merged


def suggestion(name: str, known: list[str] | tuple[str, ...]) -> str:
    """Return the end of an error about an unknown ``name``: the nearest known name, or all of them."""
    match = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"; did you mean '{match[0]}'?" if match else f"; known: {', '.join(known) or 'none'}"


def _first_problem(model: type[BaseModel], error: ValidationError) -> str:
    problem = error.errors()[0]
    key = ".".join(str(step) for step in problem["loc"] if step != "[key]")  # pydantic's mark of a wrong name
    if problem["type"] == "extra_forbidden":
        inner, name = _model_at(model, problem["loc"][:-1]), str(problem["loc"][-1])
        return f"unknown key '{key}'{suggestion(name, list(inner.model_fields))}"
    if isinstance(problem["input"], Mapping) and problem["type"] == "value_error":
        # The error is about several keys of a table, and its text names them.
        return f"'{key}': {_problem_text(problem)}" if key else _problem_text(problem)
    if problem["type"] == "model_type":
        prefix = f"'{key}' = " if key else ""
        return f"{prefix}{problem['input']!r}: expected a table of settings"
    if problem["type"] == "missing":  # its input is the entire table, which would hide the key
        return f"'{key}' is missing"
    message = f"'{key}' = {problem['input']!r}: {_problem_text(problem)}"
    if problem["type"] == "literal_error" and isinstance(problem["input"], str):
        match = difflib.get_close_matches(problem["input"], re.findall("'([^']*)'", problem["ctx"]["expected"]), n=1)
        return message + (f"; did you mean '{match[0]}'?" if match else "")
    return message


def _problem_text(problem: "ErrorDetails") -> str:
    """Return the problem as text, in the terms of TOML, which has no tuples."""
    if problem["type"] == "value_error":  # raised by a validator of ours; pydantic puts "value error" before its text
        return str(problem["ctx"]["error"])
    if problem["type"] == "tuple_type":
        return "expected a list, such as [1, 2] or ['a', 'b']"
    return problem["msg"][0].lower() + problem["msg"][1:]


def _model_at(model: type[BaseModel], path: tuple[int | str, ...]) -> type[BaseModel]:
    """Return the model of the table at ``path``, whose keys the error names."""
    annotation: Any = model
    for step in path:
        if get_origin(annotation) is dict:  # tables with free names, such as [arms.NAME]
            annotation = get_args(annotation)[1]
            continue
        field = annotation.model_fields.get(str(step))
        if field is None or not _is_table(field.annotation):
            break
        annotation = field.annotation
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else model


def _is_table(annotation: object) -> bool:
    inner = get_args(annotation)[1] if get_origin(annotation) is dict else annotation
    return isinstance(inner, type) and issubclass(inner, BaseModel)


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
