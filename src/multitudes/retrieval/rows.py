"""Rows: in place of one list, a list for each interest and followed topic of a user, as a page shows them.

The importance of an interest says nothing about a followed topic, so both kinds take turns, the strongest interest
first. An item is in the row where it ranks best. The whole history has a row only where no interest has one: its row is
the ordinary list.

Legend: K vectors · D depth of a search · N candidates.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain, zip_longest

import numpy as np
from numpy.typing import NDArray

from multitudes.api import Candidate, Interest, Row
from multitudes.batches.user_vectors import UserVectors
from multitudes.index.protocol import Hits
from multitudes.retrieval.catalogue import Catalogue
from multitudes.retrieval.config import RetrieveConfig
from multitudes.retrieval.request import Shortfall
from multitudes.retrieval.search import Candidates, search_vectors

POPULAR_TITLE = "popular"


def find_rows(
    listed: Candidates,
    vectors: UserVectors,
    catalogue: Catalogue,
    rows: int,
    n: int,
    excluded: NDArray[np.int64],
    config: RetrieveConfig,
) -> Candidates:
    """Return the candidates of at most ``rows`` rows of one user; those of a row have its vector as their interest.

    A row has ``n`` candidates, or fewer where no other item is left for its interest. A user without interests has one
    row: ``listed``, the ordinary list.
    """
    columns = order_vectors(vectors)
    interests = np.isin(np.arange(len(vectors.kinds)), columns)[None]
    # The other rows take (rows - 1) n items at most, so n are left.
    result = search_vectors(
        vectors._replace(mask_BK=interests),
        catalogue,
        min(rows, max(1, len(columns))) * n,
        [excluded],
        config,
    )
    query = {column: q for q, column in enumerate(result.column_Q.tolist())}
    shown = [column for column in columns if result.hits.count_Q[query[column]]][:rows]
    places = divide_into_rows([result.hits.ids(query[column]) for column in shown], n)
    filled = {column: place for column, place in zip(shown, places, strict=True) if len(place)}
    if not filled:
        return _as_one_row(listed, vectors)
    left_out = [str(k) for k in columns[: columns.index(shown[-1]) + 1] if k not in filled]
    reason = f"no row of interest {', '.join(left_out)}: no other item is left that is not excluded or seen"
    shortfalls = (Shortfall("few", reason),) if left_out else ()
    return _join_rows(listed, result.hits, query, filled, n, shortfalls)


def order_vectors(vectors: UserVectors) -> list[int]:
    """Return the columns of one user's interests and followed topics, in turns, each kind by importance and boost."""
    strength_K = vectors.weight_BK[0] * (1.0 if vectors.boost_BK is None else vectors.boost_BK[0])
    # Topics are in the order of their numbers: that of their draw is another in each request.
    order = [k for k in np.lexsort((vectors.topic_BK[0], -strength_K)).tolist() if vectors.mask_BK[0, k]]
    by_kind = [[k for k in order if vectors.kinds[k] == kind] for kind in ("implicit", "explicit")]
    return [k for k in chain.from_iterable(zip_longest(*by_kind)) if k is not None]


def divide_into_rows(lists: Sequence[NDArray[np.int64]], n: int) -> list[NDArray[np.int64]]:
    """Return the places in its list that each row keeps, ascending: an item is in the row where it ranks best.

    A row has room for ``n`` items, and gets them if its list has ``len(lists) * n``. Ties go to the earlier row.
    """
    kept: list[list[int]] = [[] for _ in lists]
    taken = set[int]()
    for rank, items in enumerate(zip_longest(*(one.tolist() for one in lists))):
        for row, item in enumerate(items):
            if item is not None and item not in taken and len(kept[row]) < n:
                kept[row].append(rank)
                taken.add(item)
    return [np.array(row, dtype=np.int64) for row in kept]


def make_rows(candidates: Sequence[Candidate], interests: Sequence[Interest]) -> tuple[Row, ...]:
    """Return the rows of an answer, with ranks within each row; what no interest brought is one row."""
    numbers = {one.number for one in interests if one.kind != "unconditioned"}
    rows: dict[int | None, list[Candidate]] = {}
    for one in candidates:
        rows.setdefault(one.interest if one.interest in numbers else None, []).append(one)
    made = []
    for own in rows.values():
        ranked = tuple(one._replace(rank=rank) for rank, one in enumerate(own, start=1))
        first = next((one for one in ranked if one.source != "popular"), ranked[0])
        made.append(Row(first.interest_name or POPULAR_TITLE, first.source, first.interest, ranked))
    return tuple(made)


def _join_rows(
    listed: Candidates,
    hits: Hits,
    query: dict[int, int],
    filled: dict[int, NDArray[np.int64]],
    n: int,
    shortfalls: tuple[Shortfall, ...],
) -> Candidates:
    """Return the items at the places of each row as candidates; an item is found by the rows that rank it above n."""
    item_N = np.concatenate([hits.ids(query[k])[place] for k, place in filled.items()])
    interest_N = np.repeat(list(filled), [len(place) for place in filled.values()])
    found_by_NK = np.zeros((len(item_N), len(listed.kinds)), dtype=np.bool_)
    for k, q in query.items():
        found_by_NK[:, k] = np.isin(item_N, hits.ids(q)[:n]) | (interest_N == k)
    return replace(
        listed,
        item_N=item_N,
        score_N=np.concatenate([hits.scores(query[k])[place] for k, place in filled.items()]),
        interest_N=interest_N,
        found_by_NK=found_by_NK,
        share_K=np.bincount(interest_N, minlength=len(listed.kinds)) / len(interest_N),
        shortfalls=shortfalls,
    )


def _as_one_row(listed: Candidates, vectors: UserVectors) -> Candidates:
    """Return the ordinary list, which says why it is the only row unless it says more already."""
    if any(shortfall.cause == "unknown" for shortfall in listed.shortfalls):
        return listed
    has_interests = any(kind != "unconditioned" for kind in vectors.kinds)
    reason = "no interest has items for a row" if has_interests else "the release has one vector"
    return replace(
        listed, shortfalls=(*listed.shortfalls, Shortfall("few", f"{reason}: one row, of the whole history"))
    )
