"""The Arrow columns of batch inference: users, candidates and interests.

Legend: B users · K vectors · N candidates of a user · M candidates of all users · F vectors that found a candidate.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from multitudes.batches.user_vectors import UserVectors
from multitudes.errors import DataError
from multitudes.release.release import Release
from multitudes.retrieval.response import REPEAT_LABEL
from multitudes.retrieval.search import Candidates

COLUMN_NAMES = ("user_id", "release", "degraded", "candidates")  # and "interests" with ``BatchConfig.vectors``


class ItemIds(NamedTuple):
    """The item ids of a release by number, at the time when it was opened."""

    item_ids: Any  # Arrow array; item number i at i - 1

    @classmethod
    def from_release(cls, release: Release) -> "ItemIds":
        """Return the published ids, followed by those of items that were added since."""
        names = release.item_names
        added = [names.updates[number].id for number in sorted(names.added_number.values())]
        ids = names.published.ids
        return cls(pl.concat([ids, pl.Series(added, dtype=ids.dtype)]).to_arrow() if added else ids.to_arrow())


def output_schema(release: Release, vectors: bool) -> Any:  # noqa: ANN401 (pyarrow has no types)
    """Return the Arrow schema of an answer; with ``vectors``, it has the column interests."""
    user_type, item_type = (_arrow_id_type(ids) for ids in (release.user_ids, release.items["item_id"]))
    candidate = pa.struct(
        [
            ("item_id", item_type),
            ("score", pa.float32()),
            ("rank", pa.int32()),
            ("source", pa.string()),
            ("interest", pa.int32()),
            ("interest_name", pa.string()),
            ("found_by", pa.list_(pa.int32())),
        ]
    )
    interest = pa.struct(
        [
            ("interest", pa.int32()),
            ("kind", pa.string()),
            ("name", pa.string()),
            ("share", pa.float32()),
            ("vector", pa.list_(pa.float32())),
        ]
    )
    types = (user_type, pa.string(), pa.bool_(), pa.list_(candidate))
    fields = list(zip(COLUMN_NAMES, types, strict=True))
    return pa.schema([*fields, ("interests", pa.list_(interest))] if vectors else fields)


def check_users(table: Any, release: Release) -> Any:  # noqa: ANN401
    """Check a table of users, and cast its columns to the types of a release.

    Args:
        table: has user_id and, for anonymous users, history and followed_topics.
        release: the release.

    Returns:
        The table without other columns.

    Raises:
        DataError: a column is missing or of another type, or a user has no id.
    """
    types = {
        "user_id": _arrow_id_type(release.user_ids),
        "history": pa.list_(_arrow_id_type(release.items["item_id"])),
        "followed_topics": pa.list_(pa.string()),
    }
    if "user_id" not in table.column_names:
        raise DataError(f"the users have the columns {', '.join(table.column_names)}; expected at least user_id")
    given = table.schema.field("user_id").type
    if pa.types.is_floating(given):  # a float cannot represent all large integers
        raise DataError(f"user_id is {given}; this release has {types['user_id']}")
    present = [name for name in types if name in table.column_names]
    try:
        users = table.select(present).cast(pa.schema([(name, types[name]) for name in present]))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        expected = ", ".join(f"{name} {types[name]}" for name in present)
        raise DataError(
            f"the users do not fit this release, which has {expected} ({str(error).splitlines()[0]})"
        ) from None
    if _is_text(given) != _is_text(types["user_id"]):
        raise DataError(f"user_id is {given}; this release has {types['user_id']}")
    if users["user_id"].null_count:
        raise DataError(f"{users['user_id'].null_count} users have no user_id; leave them out")
    return users


def is_anonymous(users: Any) -> NDArray[np.bool_]:  # noqa: ANN401
    """Return a mask of the anonymous users (B), who are described by a history or followed topics."""
    anonymous_B = np.zeros(len(users), dtype=np.bool_)
    for name in ("history", "followed_topics"):
        if name in users.column_names:
            anonymous_B |= users[name].is_valid().to_numpy()
    return anonymous_B


def list_column(users: Any, name: str) -> list[Any]:  # noqa: ANN401
    """Return a column of lists; of None if it is missing."""
    return users[name].to_pylist() if name in users.column_names else [None] * len(users)


def candidate_column(found: Sequence[Candidates], names_BK: Sequence[str | None], item_ids: ItemIds) -> Any:  # noqa: ANN401
    """Return the candidates of all users as one column: a list of records for each user."""
    count_B = np.array([len(one.item_N) for one in found], dtype=np.int64)
    item_M, score_M, interest_M, found_by_MK = map(
        np.concatenate, zip(*((one.item_N, one.score_N, one.interest_N, one.found_by_NK) for one in found), strict=True)
    )
    user_M = np.repeat(np.arange(len(found)), count_B)
    # An index shared by several processes may hold items that were added after the release was opened.
    known_M = item_M <= len(item_ids.item_ids)
    if not known_M.all():
        item_M, score_M, interest_M, found_by_MK, user_M = (
            array[known_M] for array in (item_M, score_M, interest_M, found_by_MK, user_M)
        )
        count_B = np.bincount(user_M, minlength=len(found))
    start_B = np.cumsum(count_B) - count_B
    kinds = found[0].kinds
    width = len(kinds)
    sources, labels = [*kinds, "repeat", "popular"], [*names_BK, REPEAT_LABEL, None]  # REPEAT and POPULAR from the end
    by_interest_M = interest_M >= 0
    name_M = np.where(by_interest_M, user_M * width + interest_M, len(labels) + interest_M)
    records = pa.StructArray.from_arrays(
        [
            item_ids.item_ids.take(pa.array(item_M - 1)),
            pa.array(score_M, pa.float32()),
            pa.array(np.arange(len(item_M)) - start_B[user_M] + 1, pa.int32()),
            pa.array(sources).take(pa.array(np.where(by_interest_M, interest_M, len(sources) + interest_M))),
            pa.array(interest_M, pa.int32(), mask=~by_interest_M),
            pa.array(labels, pa.string()).take(pa.array(name_M)),
            _found_by_column(found_by_MK),
        ],
        names=["item_id", "score", "rank", "source", "interest", "interest_name", "found_by"],
    )
    return pa.ListArray.from_arrays(_offsets(count_B), records)


def interest_column(vectors: UserVectors, names_BK: Sequence[str | None], share_BK: NDArray[np.float64]) -> Any:  # noqa: ANN401
    """Return the vectors of all users as one column: a list of records for each user."""
    user, k = np.nonzero(vectors.mask_BK)
    values = vectors.vectors_BKD[user, k]
    offsets = np.arange(len(values) + 1, dtype=np.int32) * values.shape[1]
    records = pa.StructArray.from_arrays(
        [
            pa.array(k, pa.int32()),
            pa.array(vectors.kinds).take(pa.array(k)),
            pa.array(names_BK, pa.string()).take(pa.array(user * len(vectors.kinds) + k)),
            pa.array(share_BK[user, k], pa.float32()),
            pa.ListArray.from_arrays(offsets, np.ascontiguousarray(values).ravel()),
        ],
        names=["interest", "kind", "name", "share", "vector"],
    )
    return pa.ListArray.from_arrays(_offsets(vectors.mask_BK.sum(axis=1)), records)


def find_duplicate(ids: Any) -> Any:  # noqa: ANN401
    """Return an id that occurs more than once, or None."""
    counts = ids.value_counts()
    repeated = counts.filter(pc.greater(counts.field("counts"), 1))
    return repeated[0]["values"].as_py() if len(repeated) else None


def _found_by_column(found_by_MK: NDArray[np.bool_]) -> Any:  # noqa: ANN401
    _, column_F = np.nonzero(found_by_MK)
    return pa.ListArray.from_arrays(_offsets(found_by_MK.sum(axis=1)), pa.array(column_F, pa.int32()))


def _offsets(length_R: NDArray[np.int64]) -> Any:  # noqa: ANN401
    return pa.array(np.append(0, np.cumsum(length_R)), pa.int32())


def _arrow_id_type(ids: pl.Series) -> Any:  # noqa: ANN401
    return pa.int64() if ids.dtype.is_integer() else pa.string()


def _is_text(kind: Any) -> bool:  # noqa: ANN401
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))
