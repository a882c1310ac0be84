"""Configuration: frozen pydantic models, one per component, written directly above the component they configure."""

import difflib
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_args, get_origin

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError, ValidationInfo, field_validator

from multitudes.errors import UsageError

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails


class Config(BaseModel):
    """A frozen record of settings; unknown keys are refused with the nearest key named."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @field_validator("*", mode="before")
    @classmethod
    def _reject_bool_as_number(cls, value: object, info: ValidationInfo) -> object:
        kind = cls.model_fields[str(info.field_name)].annotation
        kinds = {kind, *get_args(kind)}
        if isinstance(value, bool) and kinds & {int, float} and bool not in kinds:
            raise ValueError(f"expected a number, not {str(value).lower()}")
        return value


C = TypeVar("C", bound=Config)


def _check_unique(seeds: tuple[int, ...]) -> tuple[int, ...]:
    if len(set(seeds)) < len(seeds):
        raise ValueError("a seed comes twice")
    return seeds


def _check_name(name: str) -> str:
    if not name or "/" in name or name.startswith("."):
        raise ValueError("cannot name a folder or a row; expected letters, digits, - and _")
    return name


Name = Annotated[str, AfterValidator(_check_name)]  # of what is written under it, or shown by it
Seeds = Annotated[tuple[int, ...], AfterValidator(_check_unique)]  # of repetitions that are compared


def parse(model: type[C], values: dict[str, Any], where: str) -> C:
    """Build ``model`` from ``values``; ``where`` names the source in the error.

    Raises:
        UsageError: a key is unknown or a value has the wrong type or range.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise UsageError(f"{where}: {_first_problem(model, error)}") from None


def load_section(path: Path | None, section: str, model: type[C]) -> C:
    """Read ``[section]`` of the TOML file ``path`` as ``model``; no file or no section gives the defaults.

    Raises:
        UsageError: the file is missing, is no TOML, or holds a wrong key or value.
    """
    if path is None:
        return parse(model, {}, "defaults")
    return parse(model, read_sections(path).get(section, {}), f"{path}: [{section}]")


def read_sections(path: Path) -> dict[str, Any]:
    """Read a TOML file whose top level holds sections that multitudes knows.

    Raises:
        UsageError: the file is missing, is no TOML, or has an unknown section.
    """
    tables = load_toml(path, "write one with: multitudes init DIR")
    for name in tables:
        if name not in SECTIONS:
            raise UsageError(f"{path}: unknown section [{name}]{suggestion(name, SECTIONS)}")
    return tables


def deep_merge(*tables: Mapping[str, Any]) -> dict[str, Any]:
    """Return tables laid over each other, the later ones over the earlier ones, at any depth."""
    result: dict[str, Any] = {}
    for table in tables:
        for key, value in table.items():
            both = isinstance(value, Mapping) and isinstance(result.get(key), dict)
            result[key] = deep_merge(result[key], value) if both else value
    return result


def load_toml(path: Path, otherwise: str) -> dict[str, Any]:
    """Read a TOML file of any kind; ``otherwise`` says what to do where there is none.

    Raises:
        UsageError: the file is missing, a folder, or no TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"{path}: no such configuration file; {otherwise}") from None
    except IsADirectoryError:
        raise UsageError(f"{path}: a folder; expected a TOML file; {otherwise}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: not a TOML file: {error}") from None


# One section per verb that takes a configuration.
SECTIONS = ("prepare", "spark", "model", "train", "execution", "pinnersage", "evaluate", "index", "retrieve")


def _first_problem(model: type[BaseModel], error: ValidationError) -> str:
    problem = error.errors()[0]
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        inner, name = _model_at(model, problem["loc"][:-1]), str(problem["loc"][-1])
        return f"unknown key '{key}'{suggestion(name, list(inner.model_fields))}"
    if isinstance(problem["input"], Mapping) and problem["type"] == "value_error":
        # What is wrong is between the keys of a table, and the words name them.
        return f"'{key}': {_problem_text(problem)}" if key else _problem_text(problem)
    if problem["type"] == "model_type":
        named = f"'{key}' = " if key else ""
        return f"{named}{problem['input']!r}: expected a table of settings"
    if problem["type"] == "missing":  # its input is the whole table, which would bury the key
        return f"'{key}' is missing"
    message = f"'{key}' = {problem['input']!r}: {_problem_text(problem)}"
    if problem["type"] == "literal_error" and isinstance(problem["input"], str):
        match = difflib.get_close_matches(problem["input"], re.findall("'([^']*)'", problem["ctx"]["expected"]), n=1)
        return message + (f"; did you mean '{match[0]}'?" if match else "")
    return message


def _problem_text(problem: "ErrorDetails") -> str:
    """Return what is wrong, in the words of a person who writes TOML: it knows no tuples."""
    if problem["type"] == "value_error":  # a validator of ours: pydantic would put "value error" before its words
        return str(problem["ctx"]["error"])
    if problem["type"] == "tuple_type":
        return "expected a list, such as [1, 2]"
    return problem["msg"][0].lower() + problem["msg"][1:]


def _model_at(model: type[BaseModel], path: tuple[int | str, ...]) -> type[BaseModel]:
    """Return the model of the table at ``path``: its keys are the ones to name."""
    kind: Any = model
    for part in path:
        if get_origin(kind) is dict:  # tables with names of their own, such as [arms.NAME]
            kind = get_args(kind)[1]
            continue
        field = kind.model_fields.get(str(part))
        if field is None or not _is_table(field.annotation):
            break
        kind = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else model


def _is_table(kind: object) -> bool:
    inner = get_args(kind)[1] if get_origin(kind) is dict else kind
    return isinstance(inner, type) and issubclass(inner, BaseModel)


def suggestion(name: str, known: list[str] | tuple[str, ...]) -> str:
    """Return the end of a sentence that refuses ``name``: the nearest known one, or all of them."""
    match = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"; did you mean '{match[0]}'?" if match else f"; known: {', '.join(known) or 'none'}"
