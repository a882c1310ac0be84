"""What keeps a page from obeying the names in it: no control characters, and a policy of its own style and script."""

from base64 import b64encode
from hashlib import sha256
from typing import Final

_JOINERS: Final = "\u200c\u200d"  # zero width: parts of words, and several code points of one glyph


def printable(text: str) -> str:
    """Return a text with a space in place of each terminal escape, bidirectional control and the like; lines stay."""
    lines = text.split("\n")
    return "\n".join(line if line.isprintable() else "".join(map(_printable_character, line)) for line in lines)


def _printable_character(character: str) -> str:
    return character if character.isprintable() or character in _JOINERS else " "


def source_digest(text: str) -> str:
    """Return how a content security policy names a style or script: by its hash."""
    return f"sha256-{b64encode(sha256(text.encode()).digest()).decode()}"
