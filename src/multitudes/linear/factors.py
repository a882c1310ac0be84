"""The result of fitting a linear model. Serving needs no more of this package, and so no SciPy.

Legend: I items · R rank.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class LinearFactors(NamedTuple):
    """A linear model of rank R: the input and the output vector of every item; zeros: the item has none."""

    input_IR: NDArray[np.float32]  # (I + 1, R), row 0 is zero
    output_IR: NDArray[np.float32]  # (I + 1, R), row 0 is zero
