"""Results of everybody made by hand, and read back."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from multitudes.batch_inference import results

CANDIDATE = pa.struct(
    [
        ("item_id", pa.int64()),
        ("score", pa.float32()),
        ("rank", pa.int32()),
        ("source", pa.string()),
        ("interest", pa.int32()),
        ("interest_name", pa.string()),
        ("found_by", pa.list_(pa.int32())),
    ]
)
SCHEMA = pa.schema(
    [("user_id", pa.string()), ("release", pa.string()), ("degraded", pa.bool_()), ("candidates", pa.list_(CANDIDATE))]
)


def write(out: Path, shards: list[list[dict[str, Any]]], schema: pa.Schema = SCHEMA) -> None:
    held = results.Counts(0, 0, 0)
    with results.lock_results(out, {"n": 2}):
        for shard, records in enumerate(shards):
            results.write_shard(out, shard, iter([pa.Table.from_pylist(records, schema=schema)]), schema)
            part = results.shard_counts(out, shard, len(records))
            held = results.Counts(*(a + b for a, b in zip(held, part, strict=True)))
        results.write_manifest(out, held, len(shards))


def read(out: Path) -> list[dict[str, Any]]:
    return [record for part in results.shard_files(out) for record in pq.read_table(part).to_pylist()]
