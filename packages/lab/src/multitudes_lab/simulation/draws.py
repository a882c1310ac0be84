"""Random numbers that are a function of (seed, name, keys), independent of any draw before them.

So the reaction of user 7 to item 3 on day 5 is the same in every arm, in any order and any batch: arms differ only by
what they show (common random numbers). Each key is mixed into the state by the finaliser of splitmix64 (Steele, Lea and
Flood 2014), whose output passes the usual batteries of tests.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from multitudes.seeding import GOLDEN_GAMMA, splitmix64, stream_seed

Key = NDArray[np.integer] | int
_TAIL = np.uint64(11)  # bits beyond the 53 of a float64
_STEP = 2.0**-53


def uniform(seed: int, name: str, *keys: Key) -> NDArray[np.float64]:
    """Return a number in [0, 1) for each broadcast row of ``keys``, which are integers of any sign.

    Pass keys that vary least first: their mixing is computed once, not once per row.
    """
    bits: NDArray[np.uint64] = np.full(1, stream_seed(seed, name), dtype=np.uint64)
    for key in keys:
        bits = splitmix64((bits + GOLDEN_GAMMA) ^ np.asarray(key, dtype=np.int64).view(np.uint64))
    bits = bits.reshape(np.broadcast_shapes(*(np.shape(key) for key in keys)))
    return np.asarray((bits >> _TAIL) * _STEP, dtype=np.float64)


def normal(seed: int, name: str, *keys: Key) -> NDArray[np.float64]:
    """Return a standard normal number for each broadcast row of ``keys``."""
    return np.asarray(ndtri(uniform(seed, name, *keys) + _STEP / 2))


def exponential(seed: int, name: str, *keys: Key) -> NDArray[np.float64]:
    """Return an exponential number of mean 1 for each broadcast row of ``keys``."""
    return np.asarray(-np.log1p(-uniform(seed, name, *keys)))
