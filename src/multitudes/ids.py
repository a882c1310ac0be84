"""User and item ids: int64 or string, kept exactly as given from the first table to the last answer."""

from collections.abc import Iterable, Sequence
from typing import Any, Final, Literal

from multitudes.errors import UsageError

IdType = Literal["int64", "string"]
Id = int | str
INT64_RANGE: Final = range(-(2**63), 2**63)


def parse_id(text: str, id_type: IdType, what: str) -> Id:
    """Return the id that a person typed, in the type of this data; ``what``, such as "user", names it in the error.

    Raises:
        UsageError: the ids of this data are integers and ``text`` is not one.
    """
    if id_type == "string":
        return text
    try:
        return int(text)
    except ValueError:
        raise UsageError(f"{what} '{text}': the ids of this data are integers; give a whole number") from None


def check_id_type(name: str, ids: Iterable[Id], are_integers: bool) -> None:
    """Reject ids of another type than those of the data: they would silently be unknown.

    Raises:
        UsageError: an id is a text where those of the data are integers, or the other way round.
    """
    wrong = next((one for one in ids if isinstance(one, str) is are_integers), None)
    if wrong is not None:
        kind = "integers" if are_integers else "texts"
        raise UsageError(f"{name} {wrong!r:.80}: the ids of this data are {kind}; give it as in the data")


def reject_text(name: str, given: Sequence[Any] | None) -> None:
    """Check that a list of ids or topics is not a text, which is a sequence too: of its letters.

    Raises:
        UsageError: ``given`` is a text.
    """
    if isinstance(given, str):
        raise UsageError(f"{name} = {given!r}: expected a list; give [{given!r}]")
