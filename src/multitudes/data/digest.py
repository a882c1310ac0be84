"""What tells one input from another: the SHA-256 of a file, or of all parts of a table in the order of their names."""

import hashlib
from pathlib import Path

from multitudes.data.canonical import PARTS


def sha256(table: Path) -> str:
    """Return the digest of a table.

    Raises:
        FileNotFoundError: it is not there.
    """
    if table.is_dir():
        together = hashlib.sha256()
        for part in sorted(table.glob(PARTS)):
            together.update(bytes.fromhex(sha256(part)))
        return together.hexdigest()
    with table.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
