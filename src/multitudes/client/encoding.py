"""Values as the service reads them: ids in a URL, bodies and keys. It needs no httpx."""

import json
import re
from operator import index
from urllib.parse import quote

from multitudes.errors import UsageError
from multitudes.ids import Id


def path_segment(given: Id) -> str:
    """Return the segment of a URL that names an id: its JSON, percent-encoded."""
    return quote(to_json(given), safe="")


def bearer_header(key: str) -> str:
    """Return the header of a key; a line break at the end, as files have it, is dropped.

    Raises:
        UsageError: the key has characters that are not allowed.
    """
    if not re.fullmatch(r"[\x21-\x7e]+", key.strip()):  # the message must not show the key
        raise UsageError("key: has characters that are not allowed; expected a key as `multitudes keys add` shows it")
    return f"Bearer {key.strip()}"


def to_json(given: object) -> str:
    """Return a value as JSON; NumPy's integers, which the standard library rejects, are integers.

    Raises:
        UsageError: a value cannot be written as JSON.
    """
    try:
        text = json.dumps(given, ensure_ascii=False, allow_nan=False, default=index)
        text.encode()
    except (TypeError, ValueError) as error:
        raise UsageError(f"this cannot be sent: {error}; give ids as integers or texts, and finite numbers") from None
    return text
