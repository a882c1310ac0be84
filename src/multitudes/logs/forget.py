"""Taking a user out of the parts of a log.

Cut off, each file is as it was or as it shall be; the note stays, and the rest is done later.
"""

from pathlib import Path

import polars as pl

from multitudes.disk import put
from multitudes.ids import Id
from multitudes.logs import folder as places
from multitudes.logs import notes


def finish(folder: Path) -> int:
    """Do what the notes of a log still ask for; return how many rows went. Only for who holds ``folder.changing``.

    Raises:
        OSError: a part cannot be written anew; its note stays.
    """
    gone = 0
    for note in notes.read(folder):
        if note.parts:
            gone += sum(_rewrite(folder, part, note.user_id) for part in places.parts(folder))
        notes.parts_are_done(note)
    return gone


def _rewrite(folder: Path, part: Path, user_id: Id) -> int:
    theirs = pl.col("user_id") == pl.lit(user_id)
    rows = pl.scan_parquet(part)
    gone, total = rows.select(theirs.sum().alias("gone"), pl.len().alias("total")).collect().row(0)
    if gone == total:
        part.unlink()
    elif gone:
        partial = places.partial(folder, part)
        rows.filter(~theirs.fill_null(value=False)).sink_parquet(partial)
        put(partial, part)
    return int(gone)
