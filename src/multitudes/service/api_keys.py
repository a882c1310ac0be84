"""API keys: a file of digests, one key a line; what is in it is no secret, and a key is shown once, when it is made.

::

    # name  scopes       SHA-256 of the key
    shop    read,write   2f0c…

A key is 32 random bytes, so its plain SHA-256 cannot be guessed back and a slow digest would only slow the service.
"""

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, cast, get_args

from multitudes.atomic import write_text
from multitudes.errors import MissingError, UsageError
from multitudes.periodic import FileWatch

KeyScope = Literal["read", "write", "admin"]
SCOPES: Final[tuple[KeyScope, ...]] = get_args(KeyScope)
KEY_PREFIX: Final = "mult_"  # so that scanners of source code know a key that leaked
_NAME: Final = re.compile(r"[\w.-]{1,64}", re.ASCII)
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_RELOAD_INTERVAL_S: Final = 1.0


@dataclass(frozen=True)
class ApiKey:
    """One line of the file."""

    name: str
    scopes: frozenset[KeyScope]
    sha256: str


def key_digest(key: str) -> str:
    """Return what the file holds of a key."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


def read_keys(file: Path) -> list[ApiKey]:
    """Read a file of keys.

    Raises:
        UsageError: a line is not as in the module's example, or a name stands twice.
        MissingError: no such file.
    """
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise MissingError(f"{file}: no such file of keys; make one with: multitudes key NAME --to {file}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{file}: cannot be read as a file of keys: {error}") from None
    keys = [_parse_line(file, number, line) for number, line in enumerate(lines, 1) if line.strip() and line[0] != "#"]
    names = [key.name for key in keys]
    if len(set(names)) < len(names):
        raise UsageError(f"{file}: a name stands on two lines; give each key its own")
    return keys


def _parse_line(file: Path, number: int, line: str) -> ApiKey:
    parts = line.split()
    scopes = set(parts[1].split(",")) if len(parts) == 3 else set()
    sound = scopes and scopes <= set(SCOPES) and _NAME.fullmatch(parts[0]) and _DIGEST.fullmatch(parts[2])
    if not sound:
        raise UsageError(
            f"{file}: line {number} is no key; expected NAME SCOPE,SCOPE SHA256 with scopes of {', '.join(SCOPES)}"
        )
    return ApiKey(parts[0], frozenset(cast("set[KeyScope]", scopes)), parts[2])


def make_key(file: Path, name: str, scopes: tuple[KeyScope, ...]) -> str:
    """Add a key to a file, which is made where there is none, and return it: it is nowhere else.

    Raises:
        UsageError: the name is taken or no name, or the file is no file of keys.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(f"key name {name!r}: expected up to 64 letters, digits, dots and dashes")
    known = read_keys(file) if file.exists() else []
    if any(key.name == name for key in known):
        raise UsageError(f"{file}: has a key '{name}' already; remove its line, or give another name")
    secret = KEY_PREFIX + secrets.token_urlsafe(32)
    before = file.read_text(encoding="utf-8") if file.exists() else "# name  scopes  SHA-256 of the key\n"
    end = "" if before.endswith("\n") else "\n"
    write_text(file, f"{before}{end}{name} {','.join(scopes)} {key_digest(secret)}\n")
    return secret


class ApiKeys:
    """The keys of a file; a line that is added or removed counts within a second, without a restart."""

    def __init__(self, file: Path) -> None:
        """Read the file.

        Raises:
            UsageError: it is no file of keys, or it is empty.
            MissingError: there is none.
        """
        self._file = file
        self._watch = FileWatch(file, interval_s=_RELOAD_INTERVAL_S)
        self._keys: list[ApiKey] = []
        self._reload_if_changed()
        if not self._keys:
            raise UsageError(f"{file}: holds no key; make one with: multitudes key NAME --to {file}")

    def find(self, given: str) -> ApiKey | None:
        """Return the key that was given, or None; the time it takes does not tell how near a wrong one is."""
        try:
            self._reload_if_changed()
        except (UsageError, MissingError, OSError):
            self._keys = []  # with a damaged or removed file, no key is valid
            self._watch.reset()
        sha256, found = key_digest(given), None
        for key in self._keys:
            if hmac.compare_digest(key.sha256, sha256):
                found = key
        return found

    def _reload_if_changed(self) -> None:
        if self._watch.poll():
            self._keys = read_keys(self._file)
