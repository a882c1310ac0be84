"""EASE: a linear autoencoder of a user's items (Steck 2019, arXiv 1905.03375), cut to a rank that an index can hold.

    score of item j = Σ over the items i of the history of B_ij        B = I − C / diag(C),  C = (G + λ I)⁻¹,  G = XᵀX

B, cut to rank R by its singular values, makes EASE a single vector: B ≈ P Qᵀ, the user vector is the sum of the rows of
P of the entire history, and the score is its inner product with a row of Q.

No matrix of items × items is formed. With M = I − λ C, B is (M − diag M) / (1 − diag M), and M has the eigenvectors of
G and the eigenvalues θ / (θ + λ). The largest K of them are computed once for all λ. Below the last, θ_K, the curve
is nearly straight and is replaced by the line t θ that meets it at 0 and θ_K:

    M ≈ V (θ / (θ + λ) − t θ) Vᵀ + t G        t = 1 / (θ_K + λ)

X is binary in the paper. Here each interaction may be divided by (n_u n_i)^a, where n counts those of its user and of
its item, so that active users and popular items do not take the whole rank (a deviation; graph filters have a = 0.5,
Shen et al. 2021, arXiv 2108.07567).

Legend: U users · I items · K eigenvectors · N any number of columns · R rank.
"""

from typing import Final

import numpy as np
from scipy.sparse import csr_array

from multitudes.linear.history import LinearFactors
from multitudes.linear.interactions import SHORTEST, GramMatrix, column_products, largest_eigenpairs, orthonormal

EIGENVECTORS: Final = 256  # at least so many; twice the rank if that is more
COLUMNS: Final = 64  # of a block: bounds the memory of a product with the interactions


class EaseSpectrum:
    """The interactions by the largest eigenvalues of their Gram matrix: factors for any regularisation at little cost.

    ``regularisation`` is for interactions of mean square 1: the normalised ones are scaled to that.
    """

    def __init__(self, matrix: csr_array, rank: int, normalisation: float = 0.0) -> None:
        """Compute the eigenvalues of interactions (U, I + 1) with a = ``normalisation``, for R = ``rank`` or fewer."""
        self._rank, self._gram = rank, GramMatrix(matrix, normalisation)
        self._value_K, self._vector_IK = largest_eigenpairs(self._gram, max(EIGENVECTORS, 2 * rank), COLUMNS)

    def factors(self, regularisation: float) -> LinearFactors:
        """Return B cut to rank R; ``regularisation`` is λ."""
        value_K, vector_IK = self._value_K, self._vector_IK
        slope = np.float32(1 / (regularisation + value_K[-1]))
        fraction_K = value_K / (value_K + np.float32(regularisation))
        above_K = fraction_K - slope * value_K
        diagonal_I = np.einsum("ik,k,ik->i", vector_IK, above_K, vector_IK) + slope * self._gram.diagonal_I
        # θ / (θ + λ) is concave, so the exact diagonal is at most this, which is below 1.
        limit_I = self._gram.diagonal_I / (self._gram.diagonal_I + regularisation)
        diagonal_I1 = np.minimum(diagonal_I, limit_I).astype(np.float32)[:, None]
        # B reduced to the span of its rows that belong to the eigenvectors: the largest singular values are there.
        basis_IN = fraction_K - diagonal_I1
        basis_IN /= 1 - diagonal_I1
        basis_IN *= vector_IK
        basis_IN = orthonormal(basis_IN)
        image_IN = np.empty_like(basis_IN)  # of (M − diag M) / (1 − diag M)
        for start in range(0, basis_IN.shape[1], COLUMNS):
            columns = slice(start, start + COLUMNS)
            vectors_IC = basis_IN[:, columns] / (1 - diagonal_I1)
            image_IN[:, columns] = vector_IK @ (above_K[:, None] * (vector_IK.T @ vectors_IC))
            image_IN[:, columns] += slope * (self._gram @ vectors_IC)
            image_IN[:, columns] -= diagonal_I1 * vectors_IC
        square_N, rotation_NN = np.linalg.eigh(column_products(image_IN))
        rotation_NR = rotation_NN[:, : -self._rank - 1 : -1].astype(np.float32)
        value_R = np.sqrt(square_N[: -self._rank - 1 : -1].clip(min=square_N[-1] * SHORTEST**2)).astype(np.float32)
        input_IR = (image_IN @ (rotation_NR / np.sqrt(value_R))).astype(np.float32, copy=False)
        output_IR = basis_IN @ (rotation_NR * np.sqrt(value_R))
        # The sign of a singular pair is arbitrary: the largest entry of the output is positive.
        sign_R = np.sign(output_IR[np.abs(output_IR).argmax(axis=0), np.arange(output_IR.shape[1])])
        # An item of a history counts as in the fit, and its score is that of the item as it is.
        item_I1 = self._gram.item_I.astype(np.float32)[:, None]
        input_IR *= sign_R * item_I1
        output_IR *= sign_R / item_I1
        return LinearFactors(input_IR, output_IR)
