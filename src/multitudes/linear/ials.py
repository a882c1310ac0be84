"""iALS: matrix factorisation of implicit feedback by alternating least squares (Hu, Koren and Volinsky, ICDM 2008).

    Σ_ui c_ui (p_ui − x_u · y_i)² + λ (Σ_u |x_u|² + Σ_i |y_i|²)      c_ui = 1 + α p_ui

p_ui is 1 if user u engaged with item i, else 0.

Users and items are solved in turns, by a few steps of conjugate gradients from the last solution (Takács, Pilászy and
Tikk, RecSys 2011). The vector of a user at evaluation is the exact solution for the history, whoever the user is.

Legend: B users · I items · R rank · N nonzeros of the interactions.
"""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from multitudes.seeding import generator

RANK: Final = 64
SWEEPS: Final = 10
_STEPS: Final = 2  # of conjugate gradients
_NONZEROS_PER_CHUNK: Final = 1 << 13  # two arrays of this length × R fit the cache of a core


class Ials(NamedTuple):
    """The item vectors of a factorisation."""

    item_IR: NDArray[np.float32]  # (I + 1, R); row 0, the unknown item, is zero
    regularisation: float
    alpha: float

    def scores(self, history: csr_array) -> NDArray[np.float32]:
        """Return the score of every item for histories (B, I + 1), in that shape."""
        scores: NDArray[np.float32] = self.user_vectors(history) @ self.item_IR.T
        return scores

    def user_vectors(self, history: csr_array) -> NDArray[np.float32]:
        """Return the least-squares vector of each user, shape (B, R); an empty history has zeros.

        An item of weight w in the history has the confidence 1 + α w.
        """
        rank = self.item_IR.shape[1]
        shared_RR = self.item_IR.T @ self.item_IR + self.regularisation * np.eye(rank, dtype=np.float32)
        user_BR = np.zeros((history.shape[0], rank), dtype=np.float32)
        for row in np.flatnonzero(np.diff(history.indptr)):
            entries = slice(history.indptr[row], history.indptr[row + 1])
            item_NR, extra_N = self.item_IR[history.indices[entries]], self.alpha * history.data[entries]
            normal_RR = shared_RR + (extra_N * item_NR.T) @ item_NR
            user_BR[row] = np.linalg.solve(normal_RR, (1 + extra_N) @ item_NR)
        return user_BR


def fit_ials(
    matrix: csr_array, regularisation: float, alpha: float, rank: int = RANK, sweeps: int = SWEEPS, seed: int = 0
) -> Ials:
    """Return the item vectors that fit interactions (U, I + 1) after some sweeps over users and items."""
    by_item = csr_array(matrix.T)
    item_IR = generator(seed, "ials", "items").normal(scale=0.1, size=(matrix.shape[1], rank)).astype(np.float32)
    item_IR[np.diff(by_item.indptr) == 0] = 0.0
    user_UR = np.zeros((matrix.shape[0], rank), dtype=np.float32)
    for _ in range(sweeps):
        user_UR = _solve(matrix, item_IR, user_UR, regularisation, alpha)
        item_IR = _solve(by_item, user_UR, item_IR, regularisation, alpha)
    return Ials(item_IR, regularisation, alpha)


def _solve(
    matrix: csr_array, fixed_JR: NDArray[np.float32], start_XR: NDArray[np.float32], regularisation: float, alpha: float
) -> NDArray[np.float32]:
    """Return the vectors of the rows of ``matrix``, some steps from ``start_XR``; those of the columns are fixed."""
    shared_RR = fixed_JR.T @ fixed_JR + np.float32(regularisation) * np.eye(fixed_JR.shape[1], dtype=np.float32)

    def multiply(vector_XR: NDArray[np.float32]) -> NDArray[np.float32]:
        weighted = csr_array(
            (np.float32(alpha) * _inner_products(matrix, vector_XR, fixed_JR), matrix.indices, matrix.indptr),
            shape=matrix.shape,
        )
        product: NDArray[np.float32] = vector_XR @ shared_RR + weighted @ fixed_JR
        return product

    solution_XR = start_XR.copy()
    residual_XR = np.float32(1 + alpha) * (matrix @ fixed_JR) - multiply(solution_XR)
    direction_XR, error_X = residual_XR.copy(), np.einsum("xr,xr->x", residual_XR, residual_XR)
    for _ in range(_STEPS):
        image_XR = multiply(direction_XR)
        step_X1 = _divide(error_X, np.einsum("xr,xr->x", direction_XR, image_XR))[:, None]
        solution_XR += step_X1 * direction_XR
        residual_XR -= step_X1 * image_XR
        last_X, error_X = error_X, np.einsum("xr,xr->x", residual_XR, residual_XR)
        direction_XR = residual_XR + _divide(error_X, last_X)[:, None] * direction_XR
    return solution_XR


def _inner_products(
    matrix: csr_array, row_XR: NDArray[np.float32], column_JR: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return the inner product of both vectors at every nonzero of the matrix, shape (N,)."""
    row_N = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    product_N = np.empty(matrix.nnz, dtype=np.float32)
    for start in range(0, matrix.nnz, _NONZEROS_PER_CHUNK):
        chunk = slice(start, start + _NONZEROS_PER_CHUNK)
        product_N[chunk] = np.einsum("nr,nr->n", row_XR[row_N[chunk]], column_JR[matrix.indices[chunk]])
    return product_N


def _divide(numerator_X: NDArray[np.float32], denominator_X: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the quotient, 0 where the denominator is 0: that row is solved."""
    return np.divide(numerator_X, denominator_X, out=np.zeros_like(numerator_X), where=denominator_X > 0)
