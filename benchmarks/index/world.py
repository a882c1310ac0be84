"""A corpus with topics, users who ask and the exact answers, made once in a folder and opened by every process.

Topics are random items, or *correlated*: the items nearest to somebody's vector, far from most others. There are a few
of each size, and users take them in turn. What a user has seen are the user's best items, by rank over all vectors:
nothing is worse for an index than that.

Legend: n items · D dimensions · B users · K vectors of a user · Q = B · K queries · M results.
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from benchmarks import SEED
from benchmarks.index.corpus import VECTORS_PER_USER, Corpus, Kind, Vectors, mean_cosine
from benchmarks.index.truth import Ids, best
from benchmarks.timing import round_figure
from multitudes.index.protocol import Topics
from multitudes.seeding import generator

N = 200  # candidates of a request
DEPTH = 100  # results of each vector where each is searched in full
EXCLUDED = 1_000
TUNING_USERS = 200
_TOPICS_PER_CASE = 4


class Case(NamedTuple):
    """A size of topic."""

    share: float
    correlated: bool


CASES = {
    "0.1 %": Case(0.001, False),
    "1 %": Case(0.01, False),
    "10 %": Case(0.1, False),
    "1 % correlated": Case(0.01, True),
    "10 % correlated": Case(0.1, True),
}


class World(NamedTuple):
    """What ``make`` left in a folder. Ids are rows + 1."""

    folder: Path
    item_nD: Vectors
    user_BKD: Vectors
    tuning_QD: Vectors
    best_QM: NDArray[np.int32]  # rows, N + EXCLUDED of them

    @classmethod
    def open(cls, folder: Path) -> "World":
        """Open the files; the items stay on disk until they are read."""
        return cls(
            folder,
            _open_memmap(folder / "items.npy"),
            *(np.load(folder / f"{name}.npy") for name in ("users", "tuning", "best")),
        )

    def ids(self) -> Ids:
        """Return the id of every item."""
        return np.arange(1, len(self.item_nD) + 1)

    def topics(self) -> Topics:
        """Return the topics of every item."""
        return Topics(np.load(self.folder / "topic_offset.npy"), np.load(self.folder / "topic.npy"))

    def best_of(self, user: int) -> Ids:
        """Return the ids (K, M) of the best items of each of a user's vectors."""
        rows_BKM = self.best_QM.reshape(len(self.user_BKD), VECTORS_PER_USER, -1)
        return np.asarray(rows_BKM[user] + 1, dtype=np.int64)

    def topic_best(self, case: str) -> Ids:
        """Return the ids (B, K, M) of the best items of each vector within the topic of its user."""
        rows_QM = np.load(self.folder / f"topic-{list(CASES).index(case)}.npy")
        return np.asarray(rows_QM.reshape(len(self.user_BKD), VECTORS_PER_USER, -1) + 1, dtype=np.int64)


def topic_of(case: str, user: int) -> int:
    """Return the number of the topic that a user asks for."""
    return list(CASES).index(case) * _TOPICS_PER_CASE + user % _TOPICS_PER_CASE + 1


def first_distinct(id_KM: Ids, count: int) -> Ids:
    """Return the best ``count`` ids of a user, by their best rank over all vectors."""
    by_rank = id_KM.T.ravel()
    return by_rank[np.sort(np.unique(by_rank, return_index=True)[1])][:count]


def make(folder: str, kind: Kind, items: int, width: int, users: int) -> dict[str, Any]:
    """Make the world and return what is to be known of it. Called in a process of its own."""
    path, corpus = Path(folder), Corpus(kind, items, width)
    path.mkdir(parents=True, exist_ok=True)
    item_nD, user_BKD = _write_items(path / "items.npy", corpus), corpus.users(users, "asked")
    np.save(path / "users.npy", user_BKD)
    np.save(path / "tuning.npy", corpus.users(TUNING_USERS, "tuning").reshape(-1, width))
    query_QD = user_BKD.reshape(-1, width)
    np.save(path / "best.npy", best(query_QD, item_nD, N + EXCLUDED))
    lists = _topic_rows(corpus, item_nD)
    _write_topics(path, lists, items)
    for number, case in enumerate(CASES):
        np.save(path / f"topic-{number}.npy", _best_in_topics(case, lists, item_nD, user_BKD))
    return {
        "mean_cosine": round_figure(mean_cosine(user_BKD)),
        "topics": len(lists),
        "tuning_queries": TUNING_USERS * 12,
    }


def _write_items(file: Path, corpus: Corpus) -> Vectors:
    """Write the items chunk by chunk and return them memory-mapped."""
    written, place = open_memmap(file, "w+", np.float32, (corpus.items, corpus.width)), 0
    for chunk_nD in corpus.chunks():
        written[place : place + len(chunk_nD)] = chunk_nD
        place += len(chunk_nD)
    written.flush()
    return _open_memmap(file)


def _open_memmap(file: Path) -> Vectors:
    return np.asarray(np.load(file, mmap_mode="r").view(np.ndarray), dtype=np.float32)


def _topic_rows(corpus: Corpus, item_nD: Vectors) -> list[Ids]:
    """Return the rows of each topic, ascending; topic t is number t + 1."""
    rng = generator(SEED, "topics", *corpus)
    anchor_BD = corpus.users(len(CASES) * _TOPICS_PER_CASE, "anchors")[:, 0]
    lists: list[Ids] = []
    for case in CASES.values():
        count = max(2, round(case.share * corpus.items))
        for _ in range(_TOPICS_PER_CASE):
            if case.correlated:
                nearness_n = item_nD @ anchor_BD[len(lists)]
                rows = np.argpartition(-nearness_n, count - 1)[:count]
            else:
                rows = rng.choice(corpus.items, count, replace=False)
            lists.append(np.sort(rows))
    return lists


def _write_topics(folder: Path, lists: list[Ids], items: int) -> None:
    row_M = np.concatenate(lists)
    order = np.argsort(row_M, kind="stable")
    topic_M = np.repeat(np.arange(1, len(lists) + 1), [len(rows) for rows in lists])
    np.save(folder / "topic.npy", topic_M[order])
    np.save(folder / "topic_offset.npy", np.concatenate([[0], np.cumsum(np.bincount(row_M, minlength=items))]))


def _best_in_topics(case: str, lists: list[Ids], item_nD: Vectors, user_BKD: Vectors) -> NDArray[np.int32]:
    """Return the rows (Q, M) of the best items within each user's topic."""
    user_B = np.arange(len(user_BKD))
    parts: NDArray[np.int32] | None = None
    for turn in range(_TOPICS_PER_CASE):
        rows = lists[topic_of(case, turn) - 1]
        mine = user_B % _TOPICS_PER_CASE == turn
        found = rows[best(user_BKD[mine].reshape(-1, user_BKD.shape[2]), item_nD[rows], DEPTH + EXCLUDED)]
        if parts is None:
            parts = np.zeros((len(user_BKD), VECTORS_PER_USER, found.shape[1]), dtype=np.int32)
        parts[mine] = found.reshape(-1, VECTORS_PER_USER, found.shape[1])
    return parts.reshape(len(user_BKD) * VECTORS_PER_USER, -1) if parts is not None else np.zeros((0, 0), np.int32)
