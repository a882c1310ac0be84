"""The mixture for many users at once: what each of their vectors says of every item that any of them found.

Legend: B users · K vectors · Q lists, one for each vector that exists · U distinct items of a user's lists · D width ·
N candidates.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from multitudes.batches.vectors import UserVectors
from multitudes.index.protocol import NO_ID
from multitudes.index.rows import find_rows
from multitudes.retrieve.blend import NOTHING, Blended, Union, mixture
from multitudes.retrieve.catalogue import Catalogue

_USERS_AT_ONCE = 16  # whose items' vectors stay in the cache: 64 take a tenth longer
_MARKED = 8  # to mark an item in a table takes so much less than to look one up by halving


def mixed(
    found: Union,
    vectors: UserVectors,
    topic_BK: NDArray[np.int64],
    share_BK: NDArray[np.float64],
    log_normaliser_BK: NDArray[np.float32],
    catalogue: Catalogue,
    n: int,
) -> Iterator[Blended]:
    """Yield the list of each user, whose ``interest_N`` are columns of its vectors.

    Args:
        found: the distinct items of the lists of every user (B, U).
        vectors: of the users.
        topic_BK: the topic that a vector is restricted to, or ``ANY_TOPIC``: it has no say on other items.
        share_BK: probability of each vector.
        log_normaliser_BK: minus infinity where there is no vector.
        catalogue: knows the vectors and topics of the items.
        n: how many candidates.
    """
    count_B = (found.item_U != NO_ID).sum(axis=1)
    barred_BKU = _barred(found.item_U, topic_BK, catalogue)
    # What stands in the place of a vector that does not exist has no say, whatever it is.
    vectors_BKD = np.where(vectors.mask_BK[:, :, None], vectors.vectors_BKD, 0)
    for start in range(0, len(count_B), _USERS_AT_ONCE):
        part = slice(start, start + _USERS_AT_ONCE)
        width = int(count_B[part].max())
        if width == 0:
            yield from [NOTHING] * len(count_B[part])
            continue
        item_BU = found.item_U[part, :width]
        known_BU = np.where(item_BU == NO_ID, item_BU.max(), item_BU)
        item_BUD = catalogue.index.vectors(known_BU.ravel()).reshape(*known_BU.shape, -1)
        logit_BKU = vectors_BKD[part] @ item_BUD.transpose(0, 2, 1)
        np.copyto(logit_BKU, -np.inf, where=barred_BKU[part, :, :width])
        some = Union(item_BU, found.score_KU[part, :, :width])
        blended = mixture(some, logit_BKU, share_BK[part], log_normaliser_BK[part], n)
        for b, count in enumerate(np.minimum(n, count_B[part]).tolist()):
            yield Blended(blended.item_N[b, :count], blended.score_N[b, :count], blended.interest_N[b, :count])


def _barred(item_BU: NDArray[np.int64], topic_BK: NDArray[np.int64], catalogue: Catalogue) -> NDArray[np.bool_]:
    """Say of each vector and item (B, K, U) whether the item is of another topic than the vector is restricted to."""
    barred_BKU = np.zeros((*topic_BK.shape, item_BU.shape[1]), dtype=np.bool_)
    of_topic_I = np.zeros(item_BU.max(initial=0) + 2, dtype=np.bool_)  # the last stands for no item
    for topic in np.unique(topic_BK[topic_BK > 0]).tolist():
        user, k = np.nonzero(topic_BK == topic)
        items, wanted = catalogue.index.items_of(topic), item_BU[user]
        if len(items) > _MARKED * wanted.size:
            barred_BKU[user, k] = ~find_rows(items, wanted)[1]
            continue
        items = items[: np.searchsorted(items, len(of_topic_I) - 1)]
        of_topic_I[items] = True
        barred_BKU[user, k] = ~of_topic_I.take(wanted, mode="wrap")
        of_topic_I[items] = False
    return barred_BKU
