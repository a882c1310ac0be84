"""EASE as a model that scores histories, in the cheaper of two exact forms.

With C = (XᵀX + λ I)⁻¹ the scores of a history h are h B = h − (h C) / diag(C). C is a matrix of items × items. If there
are fewer users than items, Woodbury's identity gives the same scores by a matrix of users × users:

    λ C = I − Wᵀ W        W = L⁻¹ X,  L Lᵀ = X Xᵀ + λ I

The products of items may weigh a user with n items by n^(−β), XᵀD X in place of XᵀX: X is √D X then.

Legend: B users to score · U users of the training · I items.
"""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cholesky, lapack, solve_triangular
from scipy.sparse import csr_array

from multitudes.errors import UsageError
from multitudes.linear.interactions import scale_users

MAX_CELLS: Final = 25_000**2  # of the dense matrix: min(users, items) × items
_ROWS_PER_BLOCK: Final = 1024  # mirrored at once


class EaseByItems(NamedTuple):
    """EASE by the inverse of items × items."""

    inverse_II: NDArray[np.float32]  # C, (I + 1, I + 1)

    def scores(self, history: csr_array) -> NDArray[np.float32]:
        """Return the score of every item for histories (B, I + 1), in that shape."""
        scores_BI = history @ self.inverse_II
        scores_BI /= -np.diagonal(self.inverse_II)
        return _add_history(scores_BI, history)


class EaseByUsers(NamedTuple):
    """EASE by a factor of users × users."""

    interactions_UI: csr_array  # X
    factor_UU: NDArray[np.float32]  # L
    solved_UI: NDArray[np.float32]  # W, (U, I + 1)
    diagonal_I: NDArray[np.float32]  # of λ C

    def scores(self, history: csr_array) -> NDArray[np.float32]:
        """Return the score of every item for histories (B, I + 1), in that shape."""
        overlap_UB = (self.interactions_UI @ history.T).toarray().astype(np.float32, copy=False)
        solved_UB = solve_triangular(self.factor_UU, overlap_UB, lower=True, check_finite=False)
        scores_BI: NDArray[np.float32] = solved_UB.T @ self.solved_UI
        np.negative(scores_BI, out=scores_BI)
        _add_history(scores_BI, history)
        scores_BI /= -self.diagonal_I
        return _add_history(scores_BI, history)


EaseModel = EaseByItems | EaseByUsers


def fit_ease(matrix: csr_array, regularisation: float, user_exponent: float = 0.0) -> EaseModel:
    """Return EASE, fitted to interactions (U, I + 1) by users or by items, whichever are fewer.

    Raises:
        UsageError: min(users, items) × items is more than ``MAX_CELLS``.
    """
    matrix = scale_users(matrix[np.diff(matrix.indptr) > 0], user_exponent)  # users without any change nothing
    users, items = matrix.shape[0], matrix.shape[1] - 1
    if min(users, items) * items > MAX_CELLS:
        raise UsageError(
            f"EASE: got {users:,} users and {items:,} items; expected at most {MAX_CELLS:,} numbers in its matrix,"
            " which has min(users, items) × items; neighbours, which has no such bound, stands in for it"
        )
    if items <= users:
        return EaseByItems(_gram_inverse(matrix, regularisation))
    gram_UU = (matrix @ matrix.T).toarray().astype(np.float32, copy=False)
    gram_UU[np.diag_indices(users)] += np.float32(regularisation)
    factor_UU = cholesky(gram_UU, lower=True, overwrite_a=True, check_finite=False)
    solved_UI = solve_triangular(factor_UU, matrix.toarray(), lower=True, overwrite_b=True, check_finite=False)
    diagonal_I = 1 - np.einsum("ui,ui->i", solved_UI, solved_UI)
    return EaseByUsers(matrix, factor_UU, solved_UI, diagonal_I)


def _gram_inverse(matrix: csr_array, regularisation: float) -> NDArray[np.float32]:
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


def _add_history(scores_BI: NDArray[np.float32], history: csr_array) -> NDArray[np.float32]:
    """Add its weight to the score of each item of the history, in place."""
    row = np.repeat(np.arange(history.shape[0]), np.diff(history.indptr))
    scores_BI[row, history.indices] += history.data
    return scores_BI
