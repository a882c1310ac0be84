"""API keys: a file of digests, one key a line, or a folder of such files. A key is shown once, when it is made.

::

    # name  scopes            SHA-256 of the key  expires
    shop    recommend,events  2f0c…               2027-01-31

A key without a date does not expire; with one, it is valid until that day begins, in UTC.

A container gets a folder: a file that is mounted alone stays what it was when ``make_key`` or an editor replaces it, so
a revoked key would be accepted until the restart. Hidden files are ignored; Kubernetes has such in its volumes.

A key is 32 random bytes, so nobody can guess it from its SHA-256; a slow digest would only slow the service.
"""

import hashlib
import hmac
import os
import re
import secrets
import stat
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Final, Literal, cast, get_args

from multitudes.atomic import replace_file
from multitudes.errors import MissingError, UsageError
from multitudes.locks import lock
from multitudes.periodic import FileWatch, file_signature
from multitudes.service.settings import LOOPBACK_HOSTS, ServeConfig

KeyScope = Literal["recommend", "events", "metrics", "read", "write", "admin"]
SCOPES: Final[tuple[KeyScope, ...]] = get_args(KeyScope)
_IMPLIED_SCOPES: Final[dict[KeyScope, frozenset[KeyScope]]] = {
    "read": frozenset({"recommend", "metrics"}),
    "write": frozenset({"events"}),
}
KEY_PREFIX: Final = "mult_"  # secret scanners recognize a leaked key by it
_NAME: Final = re.compile(r"[\w-][\w.-]{0,63}", re.ASCII)
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_RELOAD_INTERVAL_S: Final = 1.0


@dataclass(frozen=True)
class ApiKey:
    """One line of the file."""

    name: str
    scopes: frozenset[KeyScope]
    sha256: str
    expires: date | None = None

    def allows(self, needed: KeyScope) -> bool:
        """Return whether the key may do what needs a scope."""
        return not self.scopes.isdisjoint(sufficient_scopes(needed))

    @property
    def is_expired(self) -> bool:
        """Whether the key is no longer valid."""
        return self.expires is not None and datetime.now(UTC).date() >= self.expires


def sufficient_scopes(needed: KeyScope) -> list[KeyScope]:
    """Return the scopes that allow what needs a scope: it, and those that imply it."""
    return [needed, *(scope for scope, implied in _IMPLIED_SCOPES.items() if needed in implied)]


def key_digest(key: str) -> str:
    """Return the digest of a key that the file holds."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


def read_keys(path: Path) -> list[ApiKey]:
    """Read a file of keys, or all files of a folder.

    Raises:
        UsageError: a line does not have the form above, or two lines have the same name.
        MissingError: the file does not exist.
    """
    keys = [key for file in _key_files(path) for key in _read_file(file)]
    names = [key.name for key in keys]
    if len(set(names)) < len(names):
        raise UsageError(f"{path}: two lines have the same name; give each key its own")
    return keys


def _key_files(path: Path) -> list[Path]:
    """Return the files of a folder of keys, by name; the path itself if it is a file or missing."""
    if not path.is_dir():
        return [path]
    return sorted(file for file in path.iterdir() if not file.name.startswith(".") and not file.is_dir())


def _signature(path: Path) -> object:  # differs whenever a key was added or removed
    return [(file.name, file_signature(file)) for file in _key_files(path)]


def _read_file(file: Path) -> list[ApiKey]:
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise MissingError(f"{file}: no such file of keys; make it: multitudes keys add {file} --name NAME") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{file}: cannot be read as a file of keys: {error}") from None
    return [_parse_line(file, number, line) for number, line in enumerate(lines, 1) if line.strip() and line[0] != "#"]


def _parse_line(file: Path, number: int, line: str) -> ApiKey:
    fields = line.split()
    scopes = set(fields[1].split(",")) if len(fields) in {3, 4} else set()
    is_valid = scopes and scopes <= set(SCOPES) and _NAME.fullmatch(fields[0]) and _DIGEST.fullmatch(fields[2])
    if not is_valid:
        raise UsageError(
            f"{file}: line {number} is not a key; expected NAME SCOPE,SCOPE SHA256 with scopes of {', '.join(SCOPES)}"
        )
    try:
        expires = date.fromisoformat(fields[3]) if len(fields) == 4 else None
    except ValueError:
        raise UsageError(f"{file}: line {number} ends in {fields[3]!r}; expected a day as 2027-01-31") from None
    return ApiKey(fields[0], frozenset(cast("set[KeyScope]", scopes)), fields[2], expires)


def make_key(path: Path, name: str, scopes: tuple[KeyScope, ...], expires: date | None = None) -> str:
    """Add a new key and return it: it is stored nowhere. Several processes may do so at the same time.

    A file is created if necessary; in a folder, the key gets a file of its name. ``expires`` is the first day on which
    it is no longer valid, in UTC; None: it does not expire.

    Raises:
        UsageError: the name is taken or invalid, the day is over, or the file is not a file of keys.
    """
    if expires is not None and expires <= datetime.now(UTC).date():
        raise UsageError(f"a key that expires on {expires} is of no use today; give a later day")
    if not _NAME.fullmatch(name):
        raise UsageError(f"key name {name!r}: expected up to 64 letters, digits, dots and dashes; the first is no dot")
    is_folder, secret = path.is_dir(), KEY_PREFIX + secrets.token_urlsafe(32)
    file = path / name if is_folder else path
    with lock(file.parent / (".lock" if is_folder else f".{path.name}.lock"), remove=True):
        known = read_keys(path) if path.exists() else []
        if any(key.name == name for key in known):
            raise UsageError(f"{path}: has a key '{name}' already; remove its line, or give another name")
        before = file.read_text(encoding="utf-8") if file.exists() else "# name  scopes  SHA-256 of the key  expires\n"
        end = "" if before.endswith("\n") else "\n"
        line = f"{name} {','.join(scopes)} {key_digest(secret)} {expires or ''}".rstrip()
        _replace(file, f"{before}{end}{line}\n")
    return secret


def _replace(file: Path, text: str) -> None:
    """Replace a file, which keeps its mode and owner; only its owner may read a new one, who is that of its folder."""
    is_new = not file.exists()
    model = (file.parent if is_new else file).stat()
    with replace_file(file, shared=True) as partial:
        partial.touch(0o600)
        partial.write_text(text, encoding="utf-8")
        with suppress(PermissionError):  # only root may give a file away
            os.chown(partial, model.st_uid, model.st_gid)
        partial.chmod(0o600 if is_new else stat.S_IMODE(model.st_mode))


class ApiKeys:
    """The keys of a file or a folder; what is added or removed takes effect within a second, without a restart."""

    def __init__(self, file: Path) -> None:
        """Read the file, or the files of the folder.

        Raises:
            UsageError: it is not a file of keys, or it is empty.
            MissingError: it does not exist.
        """
        self._file = file
        self._watch = FileWatch(file, interval_s=_RELOAD_INTERVAL_S, signature=_signature)
        self._keys: list[ApiKey] = []
        self._reload_if_changed()
        if not self._keys:
            raise UsageError(f"{file}: holds no key; make one with: multitudes keys add {file} --name NAME")

    def find(self, given: str) -> ApiKey | None:
        """Return the line of a key, or None; the time it takes does not reveal how similar a wrong key is."""
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


def load_api_keys(settings: ServeConfig) -> ApiKeys | None:
    """Return the keys that requests must have; None: no key is required.

    Raises:
        UsageError: others can reach the service without a key, or the file of keys is damaged.
        MissingError: there is no file of keys.
    """
    host = settings.server.host
    if settings.keys.file is None and host not in LOOPBACK_HOSTS and not settings.keys.open:
        raise UsageError(
            f"[server] host = {host!r}: others can reach it, and no key is required; make keys with `multitudes keys`"
            " and give --keys FILE, or set [keys] open = true on a network that is yours alone"
        )
    return None if settings.keys.file is None else ApiKeys(settings.keys.file)
