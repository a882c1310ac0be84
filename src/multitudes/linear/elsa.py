"""ELSA: a linear autoencoder of unit vectors, for more tastes than dimensions (Vančura et al., RecSys 2022).

    score of item j = Σ over the items i of the history of A_i · A_j        B = A Aᵀ − I, |A_i| = 1

EASE, cut to a rank, keeps the strongest directions. Of many tastes of equal strength these are a few, and the items of
all others have vectors near zero. Where every vector has length 1, all tastes share the dimensions and disturb each
other a little.

The loss of a user is 1 − cos(x, x B). With h = x A and S = Aᵀ A it needs no matrix of users × items:

    x · x B = |h|² − n        |x B|² = h S hᵀ − 2 |h|² + n        n = |x|²

It is minimised along the sphere by AdaGrad with one step length for each item, so that rare items move as far as
popular ones. Outputs may then be scaled by a power of popularity, which unit vectors know little of.

Legend: B users · I items · N those with interactions · C some of these · R rank.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from threadpoolctl import threadpool_limits

from multitudes.index.item_table import l2_normalize
from multitudes.linear.history import LinearFactors
from multitudes.linear.interactions import PARTS, map_parts, used_items
from multitudes.seeding import generator

_PASSES: Final = 8  # over the users, in random order
_BATCHES: Final = 10  # of a pass
_STEP: Final = np.float32(0.2)
_ITEMS: Final = 1 << 14  # that move at once


class Elsa:
    """Unit vectors of items, fitted to interactions."""

    def __init__(self, matrix: csr_array, rank: int) -> None:
        """Fit A, (I + 1, R), to binary interactions (U, I + 1); zeros for an item without any, which costs nothing."""
        draw, items = generator(0, "elsa", "steps"), matrix.shape[1]
        self._count_I1 = np.bincount(matrix.indices, minlength=items).astype(np.float32)[:, None]
        used, matrix = used_items(matrix)
        self._vector_NR = l2_normalize(draw.standard_normal((len(used), rank), dtype=np.float32))
        self._square_N1 = np.full_like(self._vector_NR[:, :1], np.finfo(np.float32).tiny)  # of gradients: means, summed
        users = np.flatnonzero(np.diff(matrix.indptr) > 1)
        with threadpool_limits(1):  # sums of several threads would depend on their number
            for _ in range(_PASSES):
                for batch in np.array_split(draw.permutation(users), min(_BATCHES, len(users))):
                    self._step(*_gradient(matrix, batch, self._vector_NR))
        self._vector_IR = np.zeros((items, rank), dtype=np.float32)
        self._vector_IR[used] = self._vector_NR
        del self._vector_NR, self._square_N1  # gigabytes, where items are many

    def _step(self, attraction_NR: NDArray[np.float32], repulsion_RR: NDArray[np.float32]) -> None:
        """Move the vectors along the sphere by a gradient, some items at a time: a copy of all would take gigabytes."""

        def move(start: int) -> None:
            items = slice(start, start + _ITEMS)
            vector_CR = self._vector_NR[items]
            gradient_CR = attraction_NR[items] - vector_CR @ repulsion_RR
            gradient_CR -= np.einsum("cr,cr->c", gradient_CR, vector_CR)[:, None] * vector_CR
            self._square_N1[items] += np.einsum("cr,cr->c", gradient_CR, gradient_CR)[:, None] / vector_CR.shape[1]
            gradient_CR *= _STEP / np.sqrt(self._square_N1[items])
            self._vector_NR[items] = l2_normalize(vector_CR + gradient_CR)

        list(map_parts(move, range(0, len(attraction_NR), _ITEMS)))

    def factors(self, exponent: float) -> LinearFactors:
        """Return A for both sides; outputs are multiplied by the interactions of the item to the power ``exponent``."""
        return LinearFactors(self._vector_IR, self._vector_IR * self._count_I1**exponent)


def _gradient(
    matrix: csr_array, batch: NDArray[np.int64], vector_NR: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the gradient of the sum of cos(x, x B) of some users: that by h (N, R) less A times another (R, R)."""
    overlap_RR = vector_NR.T @ vector_NR

    def of_users(users: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.float32]]:
        """Return the items of some users, and the two gradients, the first for these items alone."""
        x = matrix[users]
        n_B = np.diff(x.indptr).astype(np.float32)
        sum_BR = x @ vector_NR
        image_BR = sum_BR @ overlap_RR
        square_B = np.einsum("br,br->b", sum_BR, sum_BR)
        length_B = (np.einsum("br,br->b", sum_BR, image_BR) - 2 * square_B + n_B).clip(min=1e-6 * n_B)  # squared
        first_B1 = 1 / np.sqrt(n_B * length_B)[:, None]
        second_B1 = first_B1 * ((square_B - n_B) / length_B)[:, None]
        item_C, own = used_items(x)
        by_sum_CR = own.T @ (2 * (first_B1 + second_B1) * sum_BR - second_B1 * image_BR)
        return item_C, by_sum_CR, sum_BR.T @ (second_B1 * sum_BR)

    attraction_NR, repulsion_RR = np.zeros_like(vector_NR), np.zeros_like(overlap_RR)
    for item_C, by_sum_CR, by_overlap_RR in map_parts(of_users, np.array_split(batch, PARTS)):
        attraction_NR[item_C] += by_sum_CR
        repulsion_RR += by_overlap_RR
    return attraction_NR, repulsion_RR
