"""What all linear models of items have in common: they score every item for a history."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array


class LinearModel(Protocol):
    """A model of ``item_knn``, ``ease_model`` or ``ials``."""

    def scores(self, history: csr_array) -> NDArray[np.float32]:
        """Return the score of every item, shape (B, I + 1).

        Args:
            history: which items are in the history of each user, shape (B, I + 1).
        """
        ...
