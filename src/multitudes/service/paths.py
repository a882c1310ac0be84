"""Ids in addresses, where everything is text: how ``42`` the number and ``"42"`` the text are told apart.

An id stands in an address as its JSON: ``/v1/users/42`` is the integer 42, ``/v1/users/%2242%22`` (that is ``"42"``)
the text. A text that is no integer and begins with no quote may stand bare: ``ann`` is the same as ``%22ann%22``.
"""

import re
from typing import Final
from urllib.parse import unquote_to_bytes

import orjson

from multitudes.ids import Id
from multitudes.service.refusals import RefusalError
from multitudes.service.schemas import ID_CHARACTERS, INT64

_INTEGER: Final = re.compile(r"0|-?[1-9][0-9]*")
_HOW: Final = 'an integer as 42, a text as "42" in quotes, percent-encoded'


def id_of(text: str) -> Id:
    """Return the id that an address names.

    Raises:
        RefusalError: (422) no id, out of the range of int64, or too long.
    """
    if _INTEGER.fullmatch(text):
        if len(text) > 20 or not -INT64 - 1 <= int(text) <= INT64:
            raise RefusalError(422, f"id {text[:24]}: out of the range of int64; a text of digits goes in quotes")
        return int(text)
    name = _quoted(text) if text.startswith('"') else text
    if not 1 <= len(name) <= ID_CHARACTERS:
        raise RefusalError(422, f"an id of {len(name):,} characters; expected 1 to {ID_CHARACTERS}: {_HOW}")
    return name


def _quoted(text: str) -> str:
    try:
        name = orjson.loads(text)
    except orjson.JSONDecodeError:
        name = None
    if not isinstance(name, str):
        raise RefusalError(422, f"id {text[:40]}: begins with a quote and is no JSON text; expected {_HOW}")
    return name


def is_text(raw_path: bytes) -> bool:
    """Tell whether an address is UTF-8 once decoded; a server that replaces what is not would change an id."""
    try:
        unquote_to_bytes(raw_path.partition(b"?")[0]).decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
