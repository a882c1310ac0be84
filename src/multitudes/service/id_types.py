"""Ids in addresses, where everything is text: how ``42`` the number and ``"42"`` the text are told apart.

An id stands in an address as its JSON: ``/v1/users/42`` is the integer 42, ``/v1/users/%2242%22`` (that is ``"42"``)
the text. A text that is no integer and begins with no quote may stand bare: ``ann`` is the same as ``%22ann%22``.

Ids are of the kind that the data have: a text that looks like the right number would only be somebody unknown.
"""

import re
from collections.abc import Sequence
from typing import Final

import orjson

from multitudes.ids import Id, IdType
from multitudes.logs.schemas import IdTypes
from multitudes.release.release import Release
from multitudes.service.dependencies import Dependencies
from multitudes.service.errors import ApiError
from multitudes.api import ID_CHARACTERS, INT64

_INTEGER: Final = re.compile(r"0|-?[1-9][0-9]*")
_EXPECTED_FORM: Final = 'an integer as 42, a text as "42" in quotes, percent-encoded'


def parse_id(text: str) -> Id:
    """Return the id that an address names.

    Raises:
        RefusalError: (422) no id, out of the range of int64, or too long.
    """
    if _INTEGER.fullmatch(text):
        if len(text) > 20 or not -INT64 - 1 <= int(text) <= INT64:
            raise ApiError(422, f"id {text[:24]}: out of the range of int64; a text of digits goes in quotes")
        return int(text)
    name = _parse_quoted(text) if text.startswith('"') else text
    if not 1 <= len(name) <= ID_CHARACTERS:
        raise ApiError(422, f"an id of {len(name):,} characters; expected 1 to {ID_CHARACTERS}: {_EXPECTED_FORM}")
    return name


def _parse_quoted(text: str) -> str:
    try:
        name = orjson.loads(text)
    except orjson.JSONDecodeError:
        name = None
    if not isinstance(name, str):
        raise ApiError(422, f"id {text[:40]}: begins with a quote and is no JSON text; expected {_EXPECTED_FORM}")
    return name


def id_kinds(release: Release) -> IdTypes:
    """Return what the ids of a release are."""
    users, items = release.user_numbers, release.item_names.published.id_map
    return IdTypes("int64" if users.has_integer_ids else "string", "int64" if items.has_integer_ids else "string")


def check_id_types(parts: Dependencies, user_ids: Sequence[Id], item_ids: Sequence[Id]) -> None:
    """Refuse ids of another kind than those of the release that serves.

    Raises:
        RefusalError: (422) an id is a text where those of the data are integers, or the other way round.
    """
    kinds = id_kinds(parts.get_retriever().release)
    _check_type("user_id", user_ids, kinds.user_id)
    _check_type("item_id", item_ids, kinds.item_id)


def _check_type(what: str, given: Sequence[Id], expected: IdType) -> None:
    kind = int if expected == "int64" else str
    wrong = next((one for one in given if not isinstance(one, kind)), None)
    if wrong is not None:
        words = "integers" if kind is int else "texts"
        raise ApiError(422, f"{what} {wrong!r:.80}: the ids of this data are {words}; give it as in the data")
