"""Encode responses and events as lines of a spool, and decode lines into the rows of a segment.

A response is one line whose candidates are columns of lists; the events of one append are one line too. Polars decodes
the lines without Python's global lock, so a service answers requests while it rotates its log.
"""

import io
import json
from collections.abc import Mapping, Sequence

import polars as pl

from multitudes.errors import DataError
from multitudes.ids import INT64_RANGE, Id, IdType
from multitudes.logs import schemas
from multitudes.logs.schemas import ORIGIN_COLUMNS, SCORE_UNIT, IdTypes, LoggedEvent, LogName, ServedResponse

_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, check_circular=False, separators=(",", ":")).encode
_END = "end"  # column: the byte of the spool at which the row's line ends


def encode_served(response: ServedResponse, id_types: IdTypes) -> bytes:
    """Return a response as a line.

    Raises:
        DataError: an id has the wrong type.
        OverflowError, ValueError: a score is not finite, or UTF-8 cannot encode a text.
    """
    check_ids("item_id", response.item_ids, id_types.item_id)
    if response.user_id is not None:
        check_ids("user_id", (response.user_id,), id_types.user_id)
    record = {
        "request_id": response.request_id,
        "user_id": response.user_id,
        "timestamp": response.time_s,
        "release": response.release,
        "degraded": response.degraded,
        "item_id": response.item_ids,
        "score": [round(score * SCORE_UNIT) for score in response.scores],
        "origin": response.origin_N,
        **dict(zip(ORIGIN_COLUMNS, zip(*response.origins, strict=True), strict=False)),
    }
    return _encode(record).encode()


def encode_events(events: Sequence[LoggedEvent], id_types: IdTypes) -> bytes:
    """Return events as a line; raises as ``encode_served``."""
    event_id, user_id, item_id, time_s, action, request_id = zip(*events, strict=True)
    check_ids("user_id", user_id, id_types.user_id)
    check_ids("item_id", item_id, id_types.item_id)
    columns = {"event_id": event_id, "user_id": user_id, "item_id": item_id, "timestamp": time_s}
    return _encode({**columns, "action": action, "request_id": request_id}).encode()


def check_ids(name: str, ids: Sequence[Id], id_type: IdType) -> None:
    """Reject ids that do not have the type of the log.

    Raises:
        DataError: one of them has another type. The message contains no id.
    """
    expected = int if id_type == "int64" else str
    if set(map(type, ids)) - {expected} or (expected is int and any(one not in INT64_RANGE for one in ids)):
        raise DataError(f"{name}: cannot be logged; expected {id_type}, as this log has them")


def decode_lines(log: LogName, id_types: IdTypes, payloads: Sequence[bytes], ends: Sequence[int]) -> pl.DataFrame:
    """Return the rows of a segment that lines of a spool contain, each with the ``end`` of its line."""
    lines = pl.read_ndjson(io.BytesIO(b"\n".join(payloads)), schema=schemas.line_columns(log, id_types))
    lines = lines.with_columns(pl.Series(_END, ends, dtype=pl.Int64))
    columns = schemas.segment_columns(log, id_types)
    if log == "events":
        return lines.explode(*columns).select(*columns, _END)
    origin_columns = [pl.col(name).list.get(pl.col("origin")) for name in ORIGIN_COLUMNS]
    return (
        lines.with_columns(rank=pl.int_ranges(1, pl.col("item_id").list.len() + 1, dtype=pl.Int32))
        .explode("item_id", "score", "origin", "rank")
        .filter(pl.col("item_id").is_not_null())  # a response without candidates
        .with_columns(*origin_columns, score=(pl.col("score") / SCORE_UNIT).cast(pl.Float32))
        .select(*columns, _END)
    )


def erase_rows(rows: pl.DataFrame, until: Mapping[Id, int]) -> pl.DataFrame:
    """Return the rows of a segment without those of users whose line ends at or before the user's byte in ``until``."""
    if until:
        rows = drop_before(rows.lazy(), _END, {user_id: end + 1 for user_id, end in until.items()}).collect()
    return rows.drop(_END)


def drop_before(rows: pl.LazyFrame, column: str, first: Mapping[Id, int]) -> pl.LazyFrame:
    """Return the rows without those of the given users whose value in a column is below the user's in ``first``."""
    users = pl.Series(list(first), dtype=rows.collect_schema()["user_id"])
    limits = pl.LazyFrame({"user_id": users, "first": list(first.values())})
    joined = rows.join(limits, on="user_id", how="left", maintain_order="left")
    return joined.filter((pl.col(column) >= pl.col("first")).fill_null(value=True)).drop("first")
