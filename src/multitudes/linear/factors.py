"""The result of fitting a linear model. Serving needs no more of this package, and so no SciPy.

Legend: B users · I items · R rank.
"""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from scipy.sparse import csr_array


class LinearFactors(NamedTuple):
    """A linear model of rank R: the input and the output vector of every item; zeros: the item has none."""

    input_IR: NDArray[np.float32]  # (I + 1, R), row 0 is zero
    output_IR: NDArray[np.float32]  # (I + 1, R), row 0 is zero

    def scores(self, history: "csr_array") -> NDArray[np.float32]:
        """Return the score of every item for histories (B, I + 1), in that shape."""
        scores: NDArray[np.float32] = (history @ self.input_IR) @ self.output_IR.T
        return scores
