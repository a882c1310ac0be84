"""User and item ids: int64 or string, kept exactly as given from the first table to the last answer."""

from collections.abc import Sequence
from typing import Any, Literal

from multitudes.errors import UsageError

IdType = Literal["int64", "string"]
Id = int | str


def parse_id(text: str, id_type: IdType, what: str) -> Id:
    """Return the id that a person typed as ``text``.

    Raises:
        UsageError: the ids of this data are integers and ``text`` is not one.
    """
    if id_type == "string":
        return text
    try:
        return int(text)
    except ValueError:
        raise UsageError(f"{what} '{text}': the ids of this data are integers; give a whole number") from None


def reject_text(name: str, given: Sequence[Any] | None) -> None:
    """Refuse a text where a list of ids or topics belongs: it is a sequence too, of letters that nobody means.

    Raises:
        UsageError: that is what is given.
    """
    if isinstance(given, str):
        raise UsageError(f"{name} = {given!r}: expected a list; give [{given!r}]")
