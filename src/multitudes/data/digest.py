"""What tells one input from another: the SHA-256 of a file, or of all parts of a table in the order of their names."""

import hashlib
from pathlib import Path

from multitudes.data.address import Place
from multitudes.data.canonical import parts


def sha256(table: Place) -> str:
    """Return the digest of a table.

    Raises:
        FileNotFoundError: it is not there.
    """
    if table.is_dir():
        together = hashlib.sha256()
        for part in parts(table):
            together.update(bytes.fromhex(sha256(part)))
        return together.hexdigest()
    with table.open("rb") if isinstance(table, Path) else table.open() as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
