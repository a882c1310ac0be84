"""The users who asked to be erased, in a small file that all processes of a machine share, even if the store is down.

The first line of the file is a secret; each other line is the digest of a user (``validation.user_digest``) and the
time of the request, in seconds since 1970. The file contains no id.

A store that was restored from an older backup does not know these erasures: ``service.state_guard`` repeats them.
So the file itself is never replaced by that of a backup.
"""

import logging
import os
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from multitudes.atomic import create_text
from multitudes.errors import StateError
from multitudes.ids import Id
from multitudes.periodic import FileSignature, file_signature
from multitudes.state.validation import SECRET_BYTES, user_digest

FILE_NAME: Final = "forgotten"  # in the data folder of a service


class DamagedRequestsError(StateError):
    """The file of erasure requests cannot be read, so nobody knows who must not be served from their history."""


class ErasureRequests:
    """The set of users who asked to be erased; all processes see a new request at once."""

    def __init__(self, file: Path) -> None:
        """Use ``file``; the first request creates it."""
        self._file, self._secret, self._erased_s = file, b"", dict[str, int]()
        self._signature: FileSignature | None = None

    def add(self, user_id: Id, at_s: int) -> None:
        """Add a user who asked at ``at_s``; the request is durable when this returns.

        Raises:
            DamagedRequestsError: the file is damaged.
            OSError: the file cannot be written.
        """
        if self.erased_at_s([user_id]).get(user_id, -1) >= at_s:
            return
        if not self._file.exists():
            create_text(self._file, secrets.token_hex(SECRET_BYTES), mode=0o600)
        self._refresh()
        with self._file.open("ab") as stream:
            digest = user_digest(user_id, self._secret).hex()
            stream.write(f"\n{digest} {at_s}".encode())  # the line break also ends a line that was cut off
            stream.flush()
            os.fsync(stream.fileno())

    def __contains__(self, user_id: Id) -> bool:
        """Return whether a user asked to be erased."""
        return bool(self.erased_at_s([user_id]))

    def erased_at_s(self, user_ids: Sequence[Id]) -> dict[Id, int]:
        """Return when users asked to be erased, for those who did; the file is read only if it has changed.

        Raises:
            DamagedRequestsError: the file is damaged.
        """
        self.check()
        if not self._erased_s:
            return {}
        digests = {user_id: user_digest(user_id, self._secret).hex() for user_id in user_ids}
        return {user_id: self._erased_s[digest] for user_id, digest in digests.items() if digest in self._erased_s}

    def digest(self, user_id: Id) -> str | None:
        """Return the digest of a user in the file, by which a record can name them; None before the first request.

        Raises:
            DamagedRequestsError: the file is damaged.
        """
        self.check()
        return user_digest(user_id, self._secret).hex() if self._secret else None

    def check(self) -> None:
        """Read the file if it has changed.

        Raises:
            DamagedRequestsError: the file is damaged.
        """
        try:
            self._refresh()
        except (OSError, ValueError) as error:
            logging.getLogger(__name__).error("%s: damaged, or cannot be read: %s", self._file, error)
            raise DamagedRequestsError(
                "the file of users who asked to be erased is damaged; restore `forgotten` in the data folder"
            ) from None

    def _refresh(self) -> None:
        signature = file_signature(self._file)
        if signature == self._signature:
            return
        secret, erased_s = b"", dict[str, int]()
        if signature is not None:
            first, *lines = self._file.read_text(encoding="ascii").splitlines() or [""]
            secret = bytes.fromhex(first)
            if len(secret) != SECRET_BYTES:
                raise ValueError(f"a secret of {len(secret)} bytes; expected {SECRET_BYTES}")
            for digest, _, at_s in (line.partition(" ") for line in lines):
                if at_s.isdecimal():  # else the line was cut off
                    erased_s[digest] = max(erased_s.get(digest, 0), int(at_s))
        self._secret, self._erased_s, self._signature = secret, erased_s, signature
