"""EASE: a linear autoencoder of a user's items, solved in closed form (Steck 2019, arXiv 1905.03375).

    score of item j = Σ over the items i of the history of B_ij        B = I − C / diag(C),  C = (XᵀX + λ I)⁻¹

B, cut to rank R by its singular values, makes EASE a single vector: B ≈ P Qᵀ, the user vector is the sum of the rows of
P of the entire history, and the score is its inner product with a row of Q. With fewer users than items, P and Q need
no matrix of items × items, by the identity of Woodbury:

    C = (I − Xᵀ K⁻¹ X) / λ        K = X Xᵀ + λ I, a matrix of users × users

X is binary in the paper. Here each interaction may be divided by (n_u n_i)^a, where n counts those of its user and of
its item, so that active users and popular items do not take the whole rank (a deviation; graph filters have a = 0.5,
Shen et al. 2021, arXiv 2108.07567).

Legend: U users · I items · R rank.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack
from scipy.sparse import csr_array
from scipy.sparse.linalg import ArpackError, LinearOperator, svds

from multitudes.errors import DataError, UsageError
from multitudes.linear.factors import LinearFactors
from multitudes.linear.interactions import normalise

# Items of the weights; of the factors, items or users, whichever are fewer. Matrices take 5 GB, the inverse minutes.
MAX_ITEMS: Final = 25_000
_DENSE_ITEMS: Final = 1_000  # up to these, all singular values are computed: the iteration fails on a few items
_ROWS_PER_BLOCK: Final = 1024  # mirrored at once


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


def ease_factors(matrix: csr_array, regularisation: float, rank: int, normalisation: float = 0.0) -> LinearFactors:
    """Return B cut to rank R, without ever forming B where there are fewer users than items.

    Args:
        matrix: interactions, shape (U, I + 1); see ``interaction_matrix``.
        regularisation: λ, for interactions of mean square 1: the normalised ones are scaled to that.
        rank: R; lower if there are few items.
        normalisation: a; 0: none.

    Raises:
        UsageError: there are more than ``MAX_ITEMS`` items, and more than so many users with an interaction.
        DataError: no user has two items.
    """
    if np.diff(matrix.indptr).max(initial=0) < 2:
        raise DataError("EASE: no user engaged with two items in training; expected items with users in common")
    matrix, item_I = normalise(matrix[np.diff(matrix.indptr) > 0], normalisation)  # the other users change nothing
    matrix.data /= np.sqrt(np.mean(matrix.data**2))
    users, items = matrix.shape
    by_users = users < items - 1 and users <= MAX_ITEMS
    weights = _ease_operator(matrix, regularisation) if by_users else ease_weights(matrix, regularisation)
    factors = low_rank(weights, rank)
    # An item of a history counts as in the fit, and its score is that of the item as it is.
    return LinearFactors(factors.input_IR * item_I[:, None], factors.output_IR / item_I[:, None])


def _ease_operator(matrix: csr_array, regularisation: float) -> LinearOperator:
    """Return B as a function of a vector: (M − diag M) / (1 − diag M) with M = Xᵀ K⁻¹ X."""
    inverse_UU = (matrix @ matrix.T).toarray(order="F").astype(np.float64)
    inverse_UU[np.diag_indices_from(inverse_UU)] += regularisation
    inverse_UU, failed = lapack.dpotrf(inverse_UU, lower=1, overwrite_a=1, clean=1)
    assert not failed, "a Gram matrix with a positive ridge is positive definite"
    inverse_UU, _ = lapack.dpotri(inverse_UU, lower=1, overwrite_c=1)
    inverse_UU += np.tril(inverse_UU, -1).T
    item_IU = matrix.T.tocsr()
    diagonal_I = _diagonal(item_IU, inverse_UU).astype(np.float32)
    inverse_UU = inverse_UU.astype(np.float32)

    def times_m(vector_I: NDArray[np.float32]) -> NDArray[np.float32]:
        product: NDArray[np.float32] = item_IU @ (inverse_UU @ (matrix @ vector_I))
        return product - diagonal_I * vector_I

    def times_b(vector_I: NDArray[np.float32]) -> NDArray[np.float32]:
        return times_m(vector_I.ravel() / (1 - diagonal_I))

    def times_b_transposed(vector_I: NDArray[np.float32]) -> NDArray[np.float32]:
        return times_m(vector_I.ravel()) / (1 - diagonal_I)

    items = matrix.shape[1]
    return LinearOperator((items, items), matvec=times_b, rmatvec=times_b_transposed, dtype=np.float32)


def _diagonal(item_IU: csr_array, inverse_UU: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the diagonal of Xᵀ K⁻¹ X: for each item, the weighted sum of K⁻¹ over all pairs of its users."""
    users, weights = (np.split(part, item_IU.indptr[1:-1]) for part in (item_IU.indices, item_IU.data))
    pairs = zip(users, weights, strict=True)
    return np.array([weight @ inverse_UU[np.ix_(of_item, of_item)] @ weight for of_item, weight in pairs])


def _largest_singular(
    weights_II: NDArray[np.float32] | LinearOperator, rank: int
) -> tuple[NDArray[np.floating], NDArray[np.floating], NDArray[np.floating]]:
    """Return the ``rank`` largest singular triplets, in any order."""
    items = weights_II.shape[0]
    if items <= _DENSE_ITEMS:
        left_II, value_I, right_II = np.linalg.svd(weights_II @ np.eye(items, dtype=weights_II.dtype))
        return left_II[:, :rank], value_I[:rank], right_II[:rank]
    start = np.ones(items, dtype=weights_II.dtype)  # a random start would make every fit another one
    triplets: tuple[NDArray[np.floating], NDArray[np.floating], NDArray[np.floating]]
    try:
        triplets = svds(weights_II, k=rank, v0=start)
    except ArpackError:  # many equal singular values need a larger basis
        triplets = svds(weights_II, k=rank, v0=start, ncv=min(items, 6 * rank))
    return triplets


def low_rank(weights_II: NDArray[np.float32] | LinearOperator, rank: int) -> LinearFactors:
    """Return the best approximation of B of rank ``rank``, each factor with the roots of the singular values."""
    items = weights_II.shape[0]
    rank = min(rank, items - 1)
    left_IR, value_R, right_RI = _largest_singular(weights_II, rank)
    order = np.argsort(-value_R)
    root_R = np.sqrt(value_R[order])
    # The sign of a singular pair is arbitrary: the largest entry on the right is positive.
    largest_R = np.abs(right_RI).argmax(axis=1)
    sign_R = np.sign(right_RI[np.arange(rank), largest_R])[order]
    output_IR = (right_RI[order].T * root_R * sign_R).astype(np.float32)
    input_IR = (left_IR[:, order] * root_R * sign_R).astype(np.float32)
    input_IR[0] = output_IR[0] = 0.0
    return LinearFactors(input_IR, output_IR)
