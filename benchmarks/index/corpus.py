"""Vectors of items and users with a known structure, the same for the same numbers.

*Latent*: 32 factors and noise, no clusters. An item's neighbours lie in many inverted lists: this is hard, nearer to
learned vectors, and what an index is sized on. *Clustered*: 2,000 centres and noise. Neighbours share a list: easy.

The vectors of a user are related, as those of a trained model are: they share what the user is, and differ by interest.
Latent: the factors of every vector are √r of the user's own and √(1 − r) drawn anew, so their mean cosine is near r.
Clustered: all lie near a few centres of that user.

Legend: n items · F factors or centres · D dimensions · B users · K vectors of a user.
"""

from collections.abc import Iterator
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks import SEED
from multitudes.seeding import generator

VECTORS_PER_USER = 12
RELATED = 0.7  # r; what the noise leaves of it stands beside the figures, as the mean cosine
_CHUNK = 65_536  # items made at once: ten million do not fit into memory twice
_FACTORS = 32
_CENTRES = 2_000
_CENTRES_PER_USER = 3
_NOISE = np.float32(0.3)

Kind = Literal["latent", "clustered"]
KINDS: tuple[Kind, ...] = ("latent", "clustered")
Vectors = NDArray[np.float32]


class Corpus(NamedTuple):
    """So many items of a kind, and users who ask for them; all vectors have unit length."""

    kind: Kind
    items: int
    width: int

    def chunks(self) -> Iterator[Vectors]:
        """Return the item vectors, some rows (n, D) at a time."""
        for start in range(0, self.items, _CHUNK):
            yield self.more(min(_CHUNK, self.items - start), start)

    def more(self, count: int, group: object) -> Vectors:
        """Return items of the same structure; those of another group are others."""
        rng, basis_FD = self._stream("items", group), self._basis()
        if self.kind == "latent":
            return _add_noise(rng, rng.standard_normal((count, len(basis_FD)), dtype=np.float32) @ basis_FD)
        return _add_noise(rng, basis_FD[rng.integers(len(basis_FD), size=count)])

    def users(self, count: int, group: str) -> Vectors:
        """Return the vectors (B, K, D) of a group of users, none of whom is in another group."""
        rng, basis_FD = self._stream("users", group, True), self._basis()
        if self.kind == "latent":
            share = np.float32(RELATED)
            own_BKF = rng.standard_normal((count, VECTORS_PER_USER, len(basis_FD)), dtype=np.float32)
            shared_B1F = rng.standard_normal((count, 1, len(basis_FD)), dtype=np.float32)
            return _add_noise(rng, (np.sqrt(share) * shared_B1F + np.sqrt(1 - share) * own_BKF) @ basis_FD)
        own_BC = rng.integers(len(basis_FD), size=(count, _CENTRES_PER_USER))
        which_BK = rng.integers(_CENTRES_PER_USER, size=(count, VECTORS_PER_USER))
        return _add_noise(rng, basis_FD[np.take_along_axis(own_BC, which_BK, axis=1)])

    def _basis(self) -> Vectors:
        """Return the factors, each as long as makes an item's components of variance one, or the centres."""
        rng = self._stream("basis")
        if self.kind == "clustered":
            return rng.standard_normal((min(_CENTRES, max(1, self.items // 10)), self.width), dtype=np.float32)
        factors = min(_FACTORS, self.width)
        return rng.standard_normal((factors, self.width), dtype=np.float32) / np.float32(np.sqrt(factors))

    def _stream(self, *names: object) -> np.random.Generator:
        return generator(SEED, "corpus", *self, *names)


def mean_cosine(vectors_BKD: Vectors) -> float:
    """Return the mean cosine between two vectors of a user."""
    count = vectors_BKD.shape[1]
    of_all = np.einsum("bkd,bld->", vectors_BKD, vectors_BKD) / len(vectors_BKD)
    return float((of_all - count) / (count * (count - 1)))


def _add_noise(rng: np.random.Generator, vectors: Vectors) -> Vectors:
    moved = vectors + _NOISE * rng.standard_normal(vectors.shape, dtype=np.float32)
    return np.asarray(moved / np.linalg.norm(moved, axis=-1, keepdims=True), dtype=np.float32)
