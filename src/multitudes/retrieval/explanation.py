"""Which interest explains a candidate to a person: the one under which the item stands out most from the catalogue.

Most candidates may come from the vector of the whole history, which says nothing of the reason. The score of an item
under another vector of the user says how well it fits that interest, but scores of different vectors do not compare: a
longer vector gives larger ones. So each is measured against the scores of all items under the same vector:

    z = (v · x − v · mean) / sqrt(v' covariance v)

Legend: K vectors of a user · N candidates · D width.
"""

from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from multitudes.batches.user_vectors import UserVectors
from multitudes.index.live import LiveIndex
from multitudes.index.protocol import Index
from multitudes.retrieval.catalogue import sample_items
from multitudes.retrieval.search import Candidates

_SAMPLE_SIZE: Final = 1_000  # items that stand for the catalogue


class Explainer:
    """Explains candidates by the interests of their user."""

    def __init__(self, index: Index) -> None:
        self._index = index

    def explain(self, vectors: UserVectors, b: int, candidates: Candidates) -> NDArray[np.int64]:
        """Return the column of the interest that explains each candidate of user ``b`` (N,).

        It is an implicit interest, or a followed topic that the item has. Without any it is what brought the candidate,
        as for own and popular items, and where a server holds the vectors of the items.
        """
        interest_K = np.flatnonzero(vectors.mask_BK[b] & (np.array(vectors.kinds) != "unconditioned"))
        explained_N = np.flatnonzero(candidates.interest_N >= 0)
        if not len(interest_K) or not len(explained_N) or not isinstance(self._index, LiveIndex):
            return candidates.interest_N
        item_N = candidates.item_N[explained_N]
        z_KN = self._standard_scores(vectors.vectors_BKD[b, interest_K], item_N)
        topic_K = vectors.topic_BK[b, interest_K]
        z_KN[topic_K > 0] += np.where(self._index.have_topics(item_N, topic_K[topic_K > 0]), 0, -np.inf)
        best_N, fits_N = interest_K[z_KN.argmax(axis=0)], np.isfinite(z_KN).any(axis=0)
        explanation_N = candidates.interest_N.copy()
        explanation_N[explained_N[fits_N]] = best_N[fits_N]
        return explanation_N

    def _standard_scores(self, vector_KD: NDArray[np.float32], item_N: NDArray[np.int64]) -> NDArray[np.float32]:
        mean_D, covariance_DD = self._catalogue
        deviation_K = np.sqrt(((vector_KD @ covariance_DD) * vector_KD).sum(axis=1).clip(min=1e-20))
        score_KN = vector_KD @ (self._index.vectors(item_N) - mean_D).T
        return np.asarray(score_KN / deviation_K[:, None], dtype=np.float32)

    @cached_property
    def _catalogue(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the mean of the item vectors (D) and their covariance (D, D)."""
        vectors = self._index.vectors(sample_items(self._index.ids(), _SAMPLE_SIZE, 0, "explanation"))
        covariance = np.cov(vectors, rowvar=False, ddof=0).reshape(vectors.shape[1], -1)
        return vectors.mean(axis=0), covariance.astype(np.float32)
