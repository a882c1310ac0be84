"""EASE: a linear autoencoder of a user's items, solved in closed form (Steck 2019, arXiv 1905.03375).

    score of item j = Σ over the items i of the history of B_ij        B = I − C / diag(C),  C = (XᵀX + λ I)⁻¹

B, cut to rank R by its singular values, makes EASE a single vector: B ≈ P Qᵀ, the user vector is the sum of the rows of
P of the entire history, and the score is its inner product with a row of Q.

Legend: U users · I items · R rank.
"""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack
from scipy.sparse import csr_array
from scipy.sparse.linalg import svds

from multitudes.errors import UsageError

MAX_ITEMS: Final = 25_000  # exact: its two matrices of items × items take 5 GB, its inverse minutes
_ROWS_PER_BLOCK: Final = 1024  # mirrored at once


class LinearFactors(NamedTuple):
    """A linear model of rank R: the input and the output vector of every item; zeros: the item has none."""

    input_IR: NDArray[np.float32]  # (I + 1, R), row 0 is zero
    output_IR: NDArray[np.float32]  # (I + 1, R), row 0 is zero

    def scores(self, history: csr_array) -> NDArray[np.float32]:
        """Return the score of every item, shape (B, I + 1).

        Args:
            history: which items are in the history of each user, shape (B, I + 1).
        """
        scores: NDArray[np.float32] = (history @ self.input_IR) @ self.output_IR.T
        return scores


def ease_weights(matrix: csr_array, regularisation: float) -> NDArray[np.float32]:
    """Return B, shape (I + 1, I + 1), with a zero diagonal; row and column 0, the unknown item, are zero.

    Args:
        matrix: interactions, shape (U, I + 1); see ``interaction_matrix``.
        regularisation: λ.

    Raises:
        UsageError: there are more than ``MAX_ITEMS`` items.
    """
    items = matrix.shape[1]
    if items - 1 > MAX_ITEMS:
        raise UsageError(
            f"EASE: got {items - 1:,} items; expected at most {MAX_ITEMS:,}: it inverts a matrix of items × items"
        )
    weights = gram_inverse(matrix, regularisation)
    weights /= -np.diagonal(weights).copy()
    np.fill_diagonal(weights, 0.0)
    weights[0] = weights[:, 0] = 0.0
    return weights


def gram_inverse(matrix: csr_array, regularisation: float) -> NDArray[np.float32]:
    """Return C = (XᵀX + λ I)⁻¹, shape (I + 1, I + 1), without a second matrix of that size."""
    items = matrix.shape[1]
    # In the order of Fortran, LAPACK works in place.
    inverse = (matrix.T @ matrix).toarray(order="F").astype(np.float32, copy=False)
    inverse.ravel("K")[:: items + 1] += np.float32(regularisation)
    inverse, failed = lapack.spotrf(inverse, lower=1, overwrite_a=1, clean=1)
    assert not failed, "a Gram matrix with a positive ridge is positive definite"
    inverse, _ = lapack.spotri(inverse, lower=1, overwrite_c=1)
    inverse = np.ascontiguousarray(inverse.T)  # no copy; the upper triangle is known
    for start in range(0, items, _ROWS_PER_BLOCK):
        block = slice(start, start + _ROWS_PER_BLOCK)
        inverse[block, block] += np.triu(inverse[block, block], 1).T
        inverse[start + _ROWS_PER_BLOCK :, block] = inverse[block, start + _ROWS_PER_BLOCK :].T
    return inverse


def low_rank(weights_II: NDArray[np.float32], rank: int) -> LinearFactors:
    """Return the best approximation of B of rank ``rank``, each factor with the roots of the singular values."""
    rank = min(rank, len(weights_II) - 2)
    start = np.ones(len(weights_II), dtype=np.float32)  # a random start would make every fit another one
    left_IR, value_R, right_RI = svds(weights_II, k=rank, v0=start)
    order = np.argsort(-value_R)
    root_R = np.sqrt(value_R[order])
    # The sign of a singular pair is arbitrary: the largest entry on the right is positive.
    largest_R = np.abs(right_RI).argmax(axis=1)
    sign_R = np.sign(right_RI[np.arange(rank), largest_R])[order]
    output_IR = (right_RI[order].T * root_R * sign_R).astype(np.float32)
    input_IR = (left_IR[:, order] * root_R * sign_R).astype(np.float32)
    input_IR[0] = output_IR[0] = 0.0
    return LinearFactors(input_IR, output_IR)
