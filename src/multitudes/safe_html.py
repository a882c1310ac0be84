"""What keeps a page from obeying the names in it: no control characters, and a policy of its own style and script."""

from base64 import b64encode
from hashlib import sha256
from typing import Final

_KEPT: Final = "\n\u200c\u200d"  # the last two have no width: parts of words, or of a glyph of several code points


def printable(text: str) -> str:
    """Return a text with a space in place of each terminal escape, bidirectional control and the like; lines stay."""
    if text.replace("\n", "").isprintable():
        return text
    return "".join(character if character.isprintable() or character in _KEPT else " " for character in text)


def source_digest(text: str) -> str:
    """Return how a content security policy names a style or script: by its hash."""
    return f"sha256-{b64encode(sha256(text.encode()).digest()).decode()}"
