"""Between records and the lines of a spool, and from lines to the rows of a part.

An answer is one line, whose candidates are columns (lists); so are the events of one append. Lines are taken apart by
Polars, outside Python's lock: a service that rotates its log goes on answering.
"""

import io
import json
from collections.abc import Sequence
from typing import Any

import polars as pl

from multitudes.errors import DataError
from multitudes.ids import Id, IdType
from multitudes.logs import schemas
from multitudes.logs.schemas import SCORE_UNIT, IdTypes, LoggedEvent, LogName, ServedResponse

_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, check_circular=False, separators=(",", ":")).encode
_LIMIT = 2**63
_OF_ORIGINS = ("source", "interest", "interest_name", "condition")
_END = "end"  # column: where in the spool the row's line ends


def encode_served(answer: ServedResponse, kinds: IdTypes) -> bytes:
    """Return an answer as a line.

    Raises:
        DataError: an id is not of its kind, or something in it cannot be written (a score that is no number).
    """
    check_ids("item_id", answer.item_ids, kinds.item_id)
    if answer.user_id is not None:
        check_ids("user_id", (answer.user_id,), kinds.user_id)
    return _encode_payload(
        {
            "request_id": answer.request_id,
            "user_id": answer.user_id,
            "timestamp": answer.time_s,
            "release": answer.release,
            "degraded": answer.degraded,
            "item_id": answer.item_ids,
            "score": _score_units(answer.scores),
            "origin": answer.origin_N,
            **dict(zip(_OF_ORIGINS, zip(*answer.origins, strict=True), strict=False)),
        }
    )


def encode_events(events: Sequence[LoggedEvent], kinds: IdTypes) -> bytes:
    """Return events as a line.

    Raises:
        DataError: an id is not of its kind, or something in it cannot be written.
    """
    event_id, user_id, item_id, time_s, action, request_id = zip(*events, strict=True)
    check_ids("user_id", user_id, kinds.user_id)
    check_ids("item_id", item_id, kinds.item_id)
    columns = {"event_id": event_id, "user_id": user_id, "item_id": item_id, "timestamp": time_s}
    return _encode_payload({**columns, "action": action, "request_id": request_id})


def _encode_payload(record: dict[str, object]) -> bytes:
    try:
        return _encode(record).encode()
    except ValueError as error:
        raise _not_loggable(error) from None


def _score_units(scores: Sequence[float]) -> list[int]:
    try:
        return [round(score * SCORE_UNIT) for score in scores]
    except (ValueError, OverflowError) as error:
        raise _not_loggable(error) from None


def _not_loggable(error: Exception) -> DataError:
    return DataError(f"cannot be logged: {error}; expected finite numbers, and text of valid characters")


def check_ids(name: str, ids: Sequence[Id], kind: IdType) -> None:
    """Refuse ids that are not of the kind of the log.

    Raises:
        DataError: one of them is not.
    """
    expected = int if kind == "int64" else str
    if set(map(type, ids)) - {expected} or (kind == "int64" and ids and not _fit_int64(ids)):
        raise DataError(f"{name}: cannot be logged; expected {kind}, as this log has them")  # whose it is, is not said


def _fit_int64(ids: Sequence[Any]) -> bool:
    return bool(min(ids) >= -_LIMIT and max(ids) < _LIMIT)


def decode_lines(log: LogName, kinds: IdTypes, payloads: Sequence[bytes], ends: Sequence[int]) -> pl.DataFrame:
    """Return the rows that are in the lines of a spool, each with the ``end`` of its line."""
    lines = pl.read_ndjson(io.BytesIO(b"\n".join(payloads)), schema=schemas.line_columns(log, kinds))
    lines = lines.with_columns(pl.Series(_END, ends, dtype=pl.Int64))
    columns = schemas.segment_columns(log, kinds)
    if log == "events":
        return lines.explode(*columns).select(*columns, _END)
    of_origins = [pl.col(name).list.get(pl.col("origin")) for name in _OF_ORIGINS]
    return (
        lines.with_columns(rank=pl.int_ranges(1, pl.col("item_id").list.len() + 1, dtype=pl.Int32))
        .explode("item_id", "score", "origin", "rank")
        .filter(pl.col("item_id").is_not_null())  # an answer without candidates
        .with_columns(*of_origins, score=(pl.col("score") / SCORE_UNIT).cast(pl.Float32))
        .select(*columns, _END)
    )


def erase_rows(found: pl.DataFrame, user_id: Id, until: int) -> pl.DataFrame:
    """Return the rows but those of a user whose line ended by ``until``."""
    return found.filter(pl.col("user_id").ne_missing(pl.lit(user_id)) | (pl.col(_END) > until))


def drop_line_ends(found: pl.DataFrame) -> pl.DataFrame:
    """Return the rows as a part has them."""
    return found.drop(_END)
