"""Reproducible random numbers: every draw comes from a named stream of a seed; streams are independent."""

import hashlib
from typing import Final

import numpy as np
from numpy.typing import NDArray

GOLDEN_GAMMA: Final = np.uint64(0x9E3779B97F4A7C15)  # SplitMix64 adds it to its state before each draw
_ROUNDS: Final = ((np.uint64(30), np.uint64(0xBF58476D1CE4E5B9)), (np.uint64(27), np.uint64(0x94D049BB133111EB)))
_LAST_SHIFT: Final = np.uint64(31)


def stream_seed(seed: int, *names: object) -> int:
    """Return the 63-bit seed of the stream called ``names`` under ``seed``; the same on every machine."""
    text = "\x1f".join([str(seed), *map(str, names)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


def generator(seed: int, *names: object) -> np.random.Generator:
    """Return a NumPy generator for the stream called ``names`` under ``seed``."""
    return np.random.default_rng(stream_seed(seed, *names))


def splitmix64(bits: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Mix 64-bit numbers, in place, with the finaliser of SplitMix64, so that close numbers give unrelated ones.

    Steele, Lea and Flood, OOPSLA 2014. With ``GOLDEN_GAMMA`` added before, it is one step of the generator.
    """
    for shift, factor in _ROUNDS:
        bits ^= bits >> shift
        bits *= factor
    bits ^= bits >> _LAST_SHIFT
    return bits
