"""The rows of Parquet shards, as the driver reads them."""

from collections.abc import Iterator, Sequence

import pyarrow as pa
from pyarrow import parquet

from multitudes.data.location import Location, open_for_arrow
from multitudes.errors import ArtefactError, is_disk_full

_COMPARED_ROWS = 262_144  # values of a column that are compared at a time


def read_batches(shard: Location, rows: int, columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
    """Yield ``columns`` of a shard, None: all, in batches of at most ``rows`` rows.

    Raises:
        ArtefactError: the shard is missing, damaged or cut short.
    """
    try:
        with parquet.ParquetFile(open_for_arrow(shard)) as file:
            yield from file.iter_batches(rows, columns=columns)
    except FileNotFoundError:
        raise ArtefactError(f"{shard}: missing; run the command again") from None
    except (pa.ArrowInvalid, OSError) as error:
        if is_disk_full(error):
            raise
        raise ArtefactError(f"{shard}: damaged or cut short; run the command again") from None


def is_sorted(shards: Sequence[Location], column: str) -> bool:
    """Return whether a column never decreases, within the shards and from one to the next; False if in doubt."""
    last = None
    try:
        types = {parquet.read_schema(open_for_arrow(shard)).field(column).type for shard in shards}
        if len(types) > 1:  # such as seconds and milliseconds
            return False
        for batch in (batch for shard in shards for batch in read_batches(shard, _COMPARED_ROWS, [column])):
            values = batch.column(0).drop_null().to_numpy(zero_copy_only=False)
            if len(values):
                if (last is not None and values[0] < last) or (values[1:] < values[:-1]).any():
                    return False
                last = values[-1]
    except (pa.ArrowException, OSError, KeyError, ArtefactError):  # the next reader reports what is wrong with the file
        return False
    return True
