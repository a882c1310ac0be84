"""Who asked to be forgotten, in a small file: known to all processes of a machine, also while the store is away.

The first word is a secret, each other one the name of a user under it (``arrival.digest``): no id stands in it.
"""

import os
import secrets
from pathlib import Path

from multitudes.atomic import create_text
from multitudes.ids import Id
from multitudes.periodic import FileSignature, file_signature
from multitudes.state.validation import SECRET_BYTES, user_digest


class ErasureRequests:
    """The marks in a file; what one process marks, all others see at once."""

    def __init__(self, file: Path) -> None:
        """Take a file, which is made with the first mark."""
        self._file, self._digests = file, frozenset[str]()
        self._signature: FileSignature | None = None
        self._secret = b""

    def add(self, user_id: Id) -> None:
        """Mark a user; it is on the disk when this returns.

        Raises:
            OSError: it cannot be written.
        """
        if user_id in self:
            return
        self._create()
        self._refresh()
        with self._file.open("ab") as stream:
            stream.write(f"\n{user_digest(user_id, self._secret).hex()}".encode())  # what was cut off before ends here
            stream.flush()
            os.fsync(stream.fileno())

    def __contains__(self, user_id: Id) -> bool:
        """Tell whether a user is marked; nothing is read where nothing came."""
        self._refresh()
        return bool(self._secret) and user_digest(user_id, self._secret).hex() in self._digests

    def _refresh(self) -> None:
        signature = file_signature(self._file)
        if signature != self._signature:
            secret, *marked = self._file.read_text(encoding="ascii").split()
            self._secret, self._digests, self._signature = bytes.fromhex(secret), frozenset(marked), signature

    def _create(self) -> None:
        """Make the file, whole; of two processes that do, one does."""
        if self._file.exists():
            return
        create_text(self._file, secrets.token_hex(SECRET_BYTES), mode=0o600)
