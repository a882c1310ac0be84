"""The batches of an epoch as the loop has them, and whose its targets are."""

from collections.abc import Iterator
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from multitudes.batches.examples import Batch, Examples


def batches(made: Examples, size: int, seed: int, epoch: int, skip: int = 0) -> Iterator[Batch]:
    return map(made.batch, islice(made.windows.epoch_batches(size, seed, epoch), skip, None))


def users(made: Examples, index_T: NDArray[np.integer]) -> NDArray[np.int64]:
    return made.prepared.users_of(made.position.select(index_T))


def moments(made: Examples, index_T: NDArray[np.integer]) -> NDArray[np.int64]:
    """Return the position of the newest event strictly before each target."""
    return made.windows.newest_before(made.position.select(index_T), users(made, index_T))
