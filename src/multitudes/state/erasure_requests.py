"""The users who asked to be erased, in a small file that all processes of a machine share, even if the store is down.

The first word of the file is a secret; each other word is the digest of a user (``validation.user_digest``). The file
contains no id.
"""

import os
import secrets
from pathlib import Path

from multitudes.atomic import create_text
from multitudes.ids import Id
from multitudes.periodic import FileSignature, file_signature
from multitudes.state.validation import SECRET_BYTES, user_digest


class ErasureRequests:
    """The set of users who asked to be erased; all processes see a new request at once."""

    def __init__(self, file: Path) -> None:
        """Use ``file``; the first request creates it."""
        self._file, self._secret, self._digests = file, b"", frozenset[str]()
        self._signature: FileSignature | None = None

    def add(self, user_id: Id) -> None:
        """Add a user; the request is durable when this returns.

        Raises:
            OSError: the file cannot be written.
        """
        if user_id in self:
            return
        if not self._file.exists():
            create_text(self._file, secrets.token_hex(SECRET_BYTES), mode=0o600)
        self._refresh()
        with self._file.open("ab") as stream:
            digest = user_digest(user_id, self._secret).hex()
            stream.write(f"\n{digest}".encode())  # the line break also ends a word that was cut off
            stream.flush()
            os.fsync(stream.fileno())

    def __contains__(self, user_id: Id) -> bool:
        """Return whether a user asked to be erased; the file is read only if it has changed."""
        self._refresh()
        return bool(self._secret) and user_digest(user_id, self._secret).hex() in self._digests

    def _refresh(self) -> None:
        signature = file_signature(self._file)
        if signature != self._signature:
            secret, *digests = self._file.read_text(encoding="ascii").split()
            self._secret, self._digests, self._signature = bytes.fromhex(secret), frozenset(digests), signature
