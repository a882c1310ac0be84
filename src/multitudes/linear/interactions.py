"""The training interactions of a prepared folder as a sparse matrix of users and items, and its singular vectors.

Legend: U users · I items · R singular vectors.
"""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, diags_array
from scipy.sparse.linalg import LinearOperator, eigsh

from multitudes.data.prepared import TEST, TRAIN, PreparedData

_DENSE_ITEMS: Final = 1_000  # up to these, all singular vectors are computed: the iteration fails on a few items
_TOLERANCE: Final = 1e-3  # relative, of the singular values


def interaction_matrix(
    prepared: PreparedData, *, include_validation: bool = False, users: NDArray[np.int64] | None = None
) -> csr_array:
    """Return which users engaged with which items in training: binary, float32, shape (U, I + 1).

    Column 0, the unknown item, is empty. Repeats count once, and events of negative weight never. With ``users``, the
    rows of all others are empty; ``include_validation`` counts the validation split too, for a last fit.
    """
    split = prepared.event_split
    is_used = (split != TEST) if include_validation else (split == TRAIN)
    if users is not None:
        is_used = is_used & np.repeat(np.isin(np.arange(prepared.n_users), users), np.diff(prepared.event_offset))
    position = np.flatnonzero(is_used & (prepared.event_weight > 0) & (prepared.event_item > 0))
    user, item = prepared.users_of(position), prepared.event_item[position].astype(np.int64)
    pair = np.unique(user * (prepared.n_items + 1) + item)
    user, item = np.divmod(pair, prepared.n_items + 1)
    shape = (prepared.n_users, prepared.n_items + 1)
    return csr_array((np.ones(len(pair), dtype=np.float32), (user, item)), shape=shape)


class Normalised(NamedTuple):
    """Interactions that weigh less where the user or the item has many."""

    matrix: csr_array  # (U, I + 1)
    item_I: NDArray[np.float32]  # what those of each item were multiplied by, (I + 1,)


def normalise(matrix: csr_array, exponent: float) -> Normalised:
    """Divide binary interactions (U, I + 1) by (n_u n_i)^exponent, so that active users and popular items decide less.

    0 leaves them as they are; 0.5 makes the matrix of a normalised graph.
    """
    user_U, item_I = (np.asarray(matrix.sum(axis=axis), dtype=np.float64).clip(min=1) ** -exponent for axis in (1, 0))
    normalised = csr_array(diags_array(user_U) @ matrix @ diags_array(item_I), dtype=np.float32)
    return Normalised(normalised, item_I.astype(np.float32))


def item_factors(matrix: csr_array, rank: int) -> NDArray[np.float32]:
    """Return V √S of the normalised interactions (U, I + 1), shape (I + 1, R); zeros for an item without interactions.

    R is ``rank``, lower if there are few items.
    """
    normalised, _ = normalise(matrix, 0.5)
    items, rank = matrix.shape[1], min(rank, matrix.shape[1] - 1)
    transposed = normalised.T.tocsr()
    if items <= _DENSE_ITEMS:
        square_R, vector_IR = np.linalg.eigh((transposed @ normalised).toarray())
    else:
        gram = LinearOperator((items, items), matvec=lambda v: transposed @ (normalised @ v.ravel()), dtype=np.float32)
        start = np.ones(items, dtype=np.float32)  # a random start would make every run another one
        square_R, vector_IR = eigsh(gram, k=rank, v0=start, tol=_TOLERANCE)
    largest_R = np.argsort(-square_R, kind="stable")[:rank]
    factors_IR = vector_IR[:, largest_R] * square_R[largest_R].clip(min=0) ** 0.25
    factors_IR[np.asarray(matrix.sum(axis=0)) == 0] = 0.0
    return np.asarray(factors_IR, dtype=np.float32)
