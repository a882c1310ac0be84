"""The plane in which vectors are drawn: their first two principal components.

Legend: N vectors · D dimensions.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Plane(NamedTuple):
    """A plane in D dimensions, and how much of the variance of the vectors that made it lies along each axis."""

    origin_D: NDArray[np.float64]
    axis_2D: NDArray[np.float64]
    share_2: NDArray[np.float64]

    def at(self, vector_ND: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return the place of each vector (N, 2)."""
        return np.asarray((vector_ND - self.origin_D) @ self.axis_2D.T)


def principal_plane(vector_ND: NDArray[np.floating]) -> Plane:
    """Return the plane of the first two principal components; the first is turned so that most lies to its right."""
    vector_ND = vector_ND.astype(np.float64)
    origin_D = vector_ND.mean(axis=0)
    _, length, axis = np.linalg.svd(vector_ND - origin_D, full_matrices=False)
    axis_2D = axis[:2] * np.sign(axis[:2].sum(axis=1, keepdims=True))  # the sign of an axis means nothing: fix it
    return Plane(origin_D, axis_2D, length[:2] ** 2 / (length**2).sum())
