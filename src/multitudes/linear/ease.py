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
from numpy.typing import NDArray
from scipy.sparse import csr_array

from multitudes.linear.history import LinearFactors
from multitudes.linear.interactions import GramMatrix
from multitudes.seeding import generator

EIGENVECTORS: Final = 256  # at least so many; twice the rank if that is more
COLUMNS: Final = 64  # of a block: bounds the memory of a product with the interactions
_ROWS_PER_CHUNK: Final = 1 << 16  # summed in double precision at once
_SHORTEST: Final = 1e-4  # a direction that is shorter, relative to the longest, is rounding


class EaseSpectrum:
    """The interactions by the largest eigenvalues of their Gram matrix: factors for any regularisation at little cost.

    ``regularisation`` is for interactions of mean square 1: the normalised ones are scaled to that.
    """

    def __init__(self, matrix: csr_array, rank: int, normalisation: float = 0.0) -> None:
        """Compute the eigenvalues of interactions (U, I + 1) with a = ``normalisation``, for R = ``rank`` or fewer."""
        self._rank, self._gram = rank, GramMatrix(matrix, normalisation)
        start_IN = generator(0, "ease", "start").standard_normal((matrix.shape[1], COLUMNS), dtype=np.float32)
        self._value_K, self._vector_IK = _largest_eigenpairs(self._gram, start_IN, max(EIGENVECTORS, 2 * rank))

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
        basis_IN = _orthonormal(basis_IN)
        image_IN = np.empty_like(basis_IN)  # of (M − diag M) / (1 − diag M)
        for start in range(0, basis_IN.shape[1], COLUMNS):
            columns = slice(start, start + COLUMNS)
            vectors_IC = basis_IN[:, columns] / (1 - diagonal_I1)
            image_IN[:, columns] = vector_IK @ (above_K[:, None] * (vector_IK.T @ vectors_IC))
            image_IN[:, columns] += slope * (self._gram @ vectors_IC)
            image_IN[:, columns] -= diagonal_I1 * vectors_IC
        square_N, rotation_NN = np.linalg.eigh(_inner_products(image_IN))
        rotation_NR = rotation_NN[:, : -self._rank - 1 : -1].astype(np.float32)
        value_R = np.sqrt(square_N[: -self._rank - 1 : -1].clip(min=square_N[-1] * _SHORTEST**2)).astype(np.float32)
        input_IR = (image_IN @ (rotation_NR / np.sqrt(value_R))).astype(np.float32, copy=False)
        output_IR = basis_IN @ (rotation_NR * np.sqrt(value_R))
        # The sign of a singular pair is arbitrary: the largest entry of the output is positive.
        sign_R = np.sign(output_IR[np.abs(output_IR).argmax(axis=0), np.arange(output_IR.shape[1])])
        # An item of a history counts as in the fit, and its score is that of the item as it is.
        item_I1 = self._gram.item_I.astype(np.float32)[:, None]
        input_IR *= sign_R * item_I1
        output_IR *= sign_R / item_I1
        return LinearFactors(input_IR, output_IR)


def _largest_eigenpairs(
    gram: GramMatrix, start_IN: NDArray[np.float32], n: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the ``n`` largest eigenvalues, or all that are not 0, largest first, and their vectors (I, K).

    Block Lanczos: a basis of 2 n vectors is grown by products with the matrix, from a block in its range, and the upper
    half of its eigenvalues is kept. If the basis spans all that the matrix reaches, every eigenvalue is exact and kept.
    """
    block_IN, size, longest = _orthonormal(gram @ start_IN), 0, 0.0
    basis_IN = np.empty((len(start_IN), 2 * n), dtype=np.float32)
    projected_NN = np.zeros((2 * n, 2 * n))  # its upper triangle
    while block_IN.shape[1] and size < 2 * n:
        block_IN = block_IN[:, : 2 * n - size]
        start, size = size, size + block_IN.shape[1]
        basis_IN[:, start:size] = block_IN
        known_IN = basis_IN[:, :size]
        image_IN = gram @ block_IN
        projected_NN[:size, start:size] = overlap_NN = known_IN.T @ image_IN
        longest = max(longest, float(np.abs(overlap_NN).max()))
        image_IN -= known_IN @ overlap_NN
        block_IN = _orthonormal(image_IN, _SHORTEST * longest)
        block_IN = _orthonormal(block_IN - known_IN @ (known_IN.T @ block_IN), 0.5)  # what rounding left
    value_N, rotation_NN = np.linalg.eigh(projected_NN[:size, :size], UPLO="U")
    kept = n if size == 2 * n else size
    values = value_N[: -kept - 1 : -1].clip(min=0).astype(np.float32)
    return values, basis_IN[:, :size] @ rotation_NN[:, : -kept - 1 : -1].astype(np.float32)


def _orthonormal(vectors_IN: NDArray[np.float32], shortest: float = 0.0) -> NDArray[np.float32]:
    """Return an orthonormal basis of the columns, in their place.

    Directions that are shorter than ``shortest``, or no more than rounding, are left out.
    """
    for least in (shortest, 0.5):  # once more: the first basis has the errors of single precision
        square_N, rotation_NN = np.linalg.eigh(_inner_products(vectors_IN))
        is_kept_N = square_N > max(least, _SHORTEST * np.sqrt(max(square_N.max(initial=0.0), 0.0))) ** 2
        rotation_NN = (rotation_NN[:, is_kept_N] / np.sqrt(square_N[is_kept_N])).astype(np.float32)
        for chunk_CN in _chunks(vectors_IN):
            chunk_CN[:, : rotation_NN.shape[1]] = chunk_CN @ rotation_NN
        vectors_IN = vectors_IN[:, : rotation_NN.shape[1]]
    return vectors_IN


def _inner_products(vectors_IN: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the inner products of all pairs of columns, shape (N, N), in double precision."""
    product_NN = np.zeros((vectors_IN.shape[1],) * 2)
    for chunk_CN in _chunks(vectors_IN):
        double_CN = chunk_CN.astype(np.float64)
        product_NN += double_CN.T @ double_CN
    return product_NN


def _chunks(vectors_IN: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """Return views of all rows, some after the other."""
    return np.array_split(vectors_IN, max(1, -(-len(vectors_IN) // _ROWS_PER_CHUNK)))
