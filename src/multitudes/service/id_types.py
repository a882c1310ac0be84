"""Ids in requests: how they are read from a URL, and the types of those of a release.

In a URL, everything is text, so an id is written as its JSON: ``/v1/users/42`` is the integer 42, and
``/v1/users/%2242%22`` (that is ``"42"``) is the text. A text that is not an integer and does not start with a quote may
be written without quotes: ``ann`` is the same as ``%22ann%22``.
"""

import re
from typing import Annotated, Final

import orjson
from fastapi import Path

from multitudes.api import ID_CHARACTERS
from multitudes.ids import INT64_RANGE, Id
from multitudes.logs.schemas import IdTypes
from multitudes.release.release import Release
from multitudes.service.errors import ApiError

UserIdPath = Annotated[str, Path(description="Id of a user, as its JSON.", examples=["ann"])]
ItemIdPath = Annotated[str, Path(description="Id of an item, as its JSON.", examples=["101"])]
_INTEGER: Final = re.compile(r"0|-?[1-9][0-9]*")
_EXPECTED_FORM: Final = 'an integer as 42, a text as "42" in quotes, percent-encoded'


def parse_id(text: str) -> Id:
    """Return the id in a percent-decoded segment of a path.

    Raises:
        ApiError: (422) it is not an id, out of the range of int64, or too long.
    """
    if _INTEGER.fullmatch(text):
        if len(text) > 20 or int(text) not in INT64_RANGE:
            raise ApiError(422, f"id {text[:24]}: out of the range of int64; a text of digits goes in quotes")
        return int(text)
    value = _parse_quoted(text) if text.startswith('"') else text
    if not 1 <= len(value) <= ID_CHARACTERS:
        raise ApiError(422, f"an id of {len(value):,} characters; expected 1 to {ID_CHARACTERS}: {_EXPECTED_FORM}")
    return value


def _parse_quoted(text: str) -> str:
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        value = None
    if not isinstance(value, str):
        raise ApiError(422, f"id {text[:40]}: begins with a quote and is not a JSON string; expected {_EXPECTED_FORM}")
    return value


def release_id_types(release: Release) -> IdTypes:
    """Return the types of the user and item ids of a release."""
    users, items = release.user_numbers, release.item_names.published.id_map
    return IdTypes("int64" if users.has_integer_ids else "string", "int64" if items.has_integer_ids else "string")
