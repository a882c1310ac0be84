"""The Arrow columns of batch inference: users, candidates and interests.

Legend: B users · L history · K vectors · P vectors of all users · N candidates of a user · M candidates of all users ·
F vectors that found a candidate · R reasons of a candidate.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from multitudes.batches.user_vectors import UserVectors
from multitudes.errors import DataError
from multitudes.release.id_mapping import ItemNames
from multitudes.release.release import Release
from multitudes.retrieval.response import MAX_EXAMPLES, REPEAT_LABEL
from multitudes.retrieval.search import Candidates

# And "interests" with ``BatchConfig.vectors`` or ``explain``.
COLUMN_NAMES = ("user_id", "release", "degraded", "candidates")


def item_ids(release: Release) -> Any:  # noqa: ANN401 (pyarrow has no types)
    """Return the item ids as an Arrow array, item number i at i - 1: the published ones, then those added since."""
    names = release.item_names
    added = [names.updates[number].id for number in sorted(names.added_number.values())]
    ids = names.published.ids
    return pl.concat([ids, pl.Series(added, dtype=ids.dtype)]).to_arrow() if added else ids.to_arrow()


def output_schema(release: Release, vectors: bool, explain: bool = False) -> Any:  # noqa: ANN401 (pyarrow has no types)
    """Return the Arrow schema of an answer; with ``vectors`` or ``explain``, it has the column interests."""
    user_type, item_type = (_arrow_id_type(ids) for ids in (release.user_ids, release.items["item_id"]))
    candidate = [
        ("item_id", item_type),
        ("score", pa.float32()),
        ("rank", pa.int32()),
        ("source", pa.string()),
        ("interest", pa.int32()),
        ("interest_name", pa.string()),
        ("found_by", pa.list_(pa.int32())),
    ]
    interest = [("interest", pa.int32()), ("kind", pa.string()), ("name", pa.string()), ("share", pa.float32())]
    if explain:
        candidate += [("because", pa.list_(item_type))]
        interest += [("items", pa.list_(pa.string())), ("n_items", pa.int32())]
    if vectors:
        interest += [("vector", pa.list_(pa.float32()))]
    types = (user_type, pa.string(), pa.bool_(), pa.list_(pa.struct(candidate)))
    fields = list(zip(COLUMN_NAMES, types, strict=True))
    return pa.schema([*fields, ("interests", pa.list_(pa.struct(interest)))] if vectors or explain else fields)


def check_users(table: Any, release: Release) -> Any:  # noqa: ANN401
    """Return user_id, history and followed_topics of a table of users, in the types of a release.

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


def candidate_column(
    found: Sequence[Candidates],
    names_BK: Sequence[str | None],
    ids: Any,  # noqa: ANN401
    because: Sequence[NDArray[np.int64]] | None = None,
) -> Any:  # noqa: ANN401
    """Return the candidates of all users as one column: a list of records for each user.

    ``ids`` are those of ``item_ids``; ``because`` are own items that are the reasons for each candidate, 0 is none.
    """
    count_B = np.array([len(one.item_N) for one in found], dtype=np.int64)
    item_M, score_M, interest_M, found_by_MK = map(
        np.concatenate, zip(*((one.item_N, one.score_N, one.interest_N, one.found_by_NK) for one in found), strict=True)
    )
    because_MR = None if because is None else np.concatenate(because)
    user_M = np.repeat(np.arange(len(found)), count_B)
    # An index shared by several processes may hold items that were added after the release was opened.
    known_M = item_M <= len(ids)
    if not known_M.all():
        item_M, score_M, interest_M, found_by_MK, user_M = (
            array[known_M] for array in (item_M, score_M, interest_M, found_by_MK, user_M)
        )
        because_MR = None if because_MR is None else because_MR[known_M]
        count_B = np.bincount(user_M, minlength=len(found))
    start_B = np.cumsum(count_B) - count_B
    kinds = found[0].kinds
    width = len(kinds)
    sources, labels = [*kinds, "repeat", "popular"], [*names_BK, REPEAT_LABEL, None]  # REPEAT and POPULAR from the end
    label_M = np.where(interest_M >= 0, user_M * width + interest_M, len(labels) + interest_M)
    _, column_F = np.nonzero(found_by_MK)
    records = {
        "item_id": ids.take(pa.array(item_M - 1)),
        "score": pa.array(score_M, pa.float32()),
        "rank": pa.array(np.arange(len(item_M)) - start_B[user_M] + 1, pa.int32()),
        "source": pa.array(sources).take(pa.array(np.where(interest_M >= 0, interest_M, len(sources) + interest_M))),
        "interest": pa.array(interest_M, pa.int32(), mask=interest_M < 0),
        "interest_name": pa.array(labels, pa.string()).take(pa.array(label_M)),
        "found_by": pa.ListArray.from_arrays(_offsets(found_by_MK.sum(axis=1)), pa.array(column_F, pa.int32())),
    }
    if because_MR is not None:
        is_reason_MR = because_MR > 0
        reasons = ids.take(pa.array(because_MR[is_reason_MR] - 1))
        records["because"] = pa.ListArray.from_arrays(_offsets(is_reason_MR.sum(axis=1)), reasons)
    return _list_of_records(count_B, records)


def interest_column(
    vectors: UserVectors,
    names_BK: Sequence[str | None],
    share_BK: NDArray[np.float64],
    *,
    with_vectors: bool,
    examples: "InterestExamples | None" = None,
) -> Any:  # noqa: ANN401
    """Return the interests of all users as one column: a list of records, with name and share, for each user."""
    user_P, k_P = np.nonzero(vectors.mask_BK)
    pair_P = user_P * len(vectors.kinds) + k_P
    records = {
        "interest": pa.array(k_P, pa.int32()),
        "kind": pa.array(vectors.kinds).take(pa.array(k_P)),
        "name": pa.array(names_BK, pa.string()).take(pa.array(pair_P)),
        "share": pa.array(share_BK[user_P, k_P], pa.float32()),
    }
    if examples is not None:
        pairs = pair_P.tolist()
        records["items"] = pa.array([examples.titles.get(pair, []) for pair in pairs], pa.list_(pa.string()))
        records["n_items"] = pa.array([examples.n_items[pair] for pair in pairs], pa.int32())
    if with_vectors:
        values = vectors.vectors_BKD[user_P, k_P]
        offsets = np.arange(len(values) + 1, dtype=np.int32) * values.shape[1]
        records["vector"] = pa.ListArray.from_arrays(offsets, np.ascontiguousarray(values).ravel())
    return _list_of_records(vectors.mask_BK.sum(axis=1), records)


class InterestExamples(NamedTuple):
    """The history items that belong to each interest, by the place of the interest among the B × K."""

    titles: dict[int, list[str]]  # of the newest items, ids where there is no title
    n_items: Counter[int]

    @classmethod
    def find(cls, vectors: UserVectors, item_BL: NDArray[np.int64], names: ItemNames) -> "InterestExamples":
        """Return the examples of the interests of users, from their histories, newest first."""
        user_E, position_E = np.nonzero((vectors.assignment_BL >= 0) & (item_BL > 0))
        pairs = (user_E * len(vectors.kinds) + vectors.assignment_BL[user_E, position_E]).tolist()
        newest: dict[int, dict[int, None]] = {}  # distinct items in order
        for pair, item in zip(pairs, item_BL[user_E, position_E].tolist(), strict=True):
            items = newest.setdefault(pair, {})
            if len(items) < MAX_EXAMPLES:
                items[item] = None
        titles = {pair: list(map(names.label, items)) for pair, items in newest.items()}
        return cls(titles, Counter(pairs))


def find_duplicate(ids: Any) -> Any:  # noqa: ANN401
    """Return an id that occurs more than once, or None."""
    counts = ids.value_counts()
    repeated = counts.filter(pc.greater(counts.field("counts"), 1))
    return repeated[0]["values"].as_py() if len(repeated) else None


def _list_of_records(count_B: NDArray[np.int64], records: dict[str, Any]) -> Any:  # noqa: ANN401
    """Return records, one after the other, as lists of ``count_B`` of them."""
    return pa.ListArray.from_arrays(
        _offsets(count_B), pa.StructArray.from_arrays(list(records.values()), names=list(records))
    )


def _offsets(length_R: NDArray[np.int64]) -> Any:  # noqa: ANN401
    return pa.array(np.append(0, np.cumsum(length_R)), pa.int32())


def _arrow_id_type(ids: pl.Series) -> Any:  # noqa: ANN401
    return pa.int64() if ids.dtype.is_integer() else pa.string()


def _is_text(kind: Any) -> bool:  # noqa: ANN401
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))
