"""Records as JSON: the conversions in both directions.

A record is a dataclass or a named tuple, whose fields are values, lists, mappings or other records.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from typing import Any, TypeVar, get_args, get_type_hints

from multitudes.ids import reject_text

R = TypeVar("R")
T = TypeVar("T")


def cache_by_type(function: Callable[[Any], T]) -> Callable[[Any], T]:
    """Cache a function of a type; mypy rejects ``functools.cache`` for types."""
    return cache(function)


def to_record(value: Any) -> Any:  # noqa: ANN401
    """Return a record as JSON: objects for dataclasses and named tuples, lists for tuples."""
    if is_dataclass(value):
        return {name: to_record(getattr(value, name)) for name in field_types(type(value))}
    if isinstance(value, tuple):
        names = getattr(value, "_fields", None)
        values = [to_record(one) for one in value]
        return values if names is None else dict(zip(names, values, strict=True))
    return {key: to_record(one) for key, one in value.items()} if isinstance(value, Mapping) else value


def from_record(kind: type[R], record: Mapping[str, Any]) -> R:
    """Return a ``kind`` from a JSON object: lists become tuples, unknown fields are ignored.

    Raises:
        KeyError: a field without a default is missing.
        TypeError: ``record`` is not an object.
    """
    if not isinstance(record, Mapping):
        raise TypeError(f"expected an object, got {type(record).__name__}")
    missing = {name for name, default in field_defaults(kind).items() if default is MISSING} - record.keys()
    if missing:
        raise KeyError(*sorted(missing))
    types = field_types(kind)
    return kind(**{name: _value(record_type(hint), record[name]) for name, hint in types.items() if name in record})


def _value(kind: type[Any] | None, value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, list):
        return tuple(_value(kind, one) for one in value)
    return from_record(kind, value) if kind is not None and isinstance(value, Mapping) else value


def to_body(request: Any) -> dict[str, Any]:  # noqa: ANN401
    """Return a request as the JSON object that is sent: without the fields that have their default.

    Raises:
        UsageError: a text is given in place of a list.
    """
    body: dict[str, Any] = {}
    for name, default in field_defaults(type(request)).items():
        value = getattr(request, name)
        if name in list_fields(type(request)) and value is not None:
            reject_text(name, value)
            if len(value) or default != ():
                body[name] = [to_body(one) if is_dataclass(one) else one for one in value]
        elif isinstance(value, Mapping):
            body |= {name: dict(value)} if value else {}
        elif value is not None and (default is MISSING or value != default):
            body[name] = value
    return body


@cache_by_type
def field_types(kind: Any) -> dict[str, Any]:  # noqa: ANN401
    """Return the type hints of a record by field, with bounds and descriptions."""
    return get_type_hints(kind, include_extras=True)


@cache_by_type
def field_defaults(kind: Any) -> dict[str, Any]:  # noqa: ANN401
    """Return the defaults of a record by field; ``MISSING``: none, or one that is made for each record."""
    if is_dataclass(kind):
        return {one.name: one.default for one in fields(kind)}
    return {name: kind._field_defaults.get(name, MISSING) for name in kind._fields}


@cache_by_type
def list_fields(kind: Any) -> frozenset[str]:  # noqa: ANN401
    """Return the fields of a request that are lists."""
    return frozenset(name for name, hint in field_types(kind).items() if Sequence in origins(hint))


def record_type(hint: Any) -> type[Any] | None:  # noqa: ANN401
    """Return the record that a type hint holds, alone, in a list or in a union; None: it holds no record."""
    if is_record(hint):
        return hint  # type: ignore[no-any-return]
    found = (record_type(inner) for inner in get_args(hint))
    return next((kind for kind in found if kind is not None), None)


def is_record(hint: Any) -> bool:  # noqa: ANN401
    """Return whether a type is a dataclass or a named tuple."""
    return isinstance(hint, type) and (is_dataclass(hint) or hasattr(hint, "_fields"))


def origins(hint: Any) -> set[Any]:  # noqa: ANN401
    """Return the generic types that a type hint is made of, such as ``Sequence``."""
    origin = getattr(hint, "__origin__", None)
    return {origin, *(found for inner in get_args(hint) for found in origins(inner))}
