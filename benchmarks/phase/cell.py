"""One cell of the diagram: lists of one vector and of several in planted worlds, paired by user.

All lists have N places and come from 6 N proposals, by the code that serves (``retrieval.search``). All but one are
calibrated: divided among the tastes in the proportions of the history. Four arms:

* one vector, fitted to the history, with the penalty that finds most: a model is tuned so, here on the very users;
* the optimum, fitted to what the user really wants, each figure with the penalty that is best for it: no vector of the
  library knows as much;
* several vectors, one for each taste: the mean of its events;
* random parts of the history: several vectors of the same sizes, from events of mixed tastes.

Legend: B users · K vectors · C tastes of the world · D dimensions · M items · N places · L events · Q queries.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.phase.vectors import SAMPLE, likelihood_optima
from benchmarks.phase.world import EVENTS, GROUP, TASTES, Setting, Users, World, draw_users, plant
from benchmarks.timing import round_figure
from multitudes.batches.user_vectors import InterestKind, UserVectors
from multitudes.index.exact import ExactIndex
from multitudes.index.live import LiveIndex
from multitudes.index.protocol import Hits
from multitudes.index.scan import scan
from multitudes.index.tastes import NO_TASTE
from multitudes.metrics.bootstrap import bootstrap_ratios
from multitudes.metrics.coverage import class_shares, depth_at_coverage, served_share
from multitudes.retrieval.catalogue import Catalogue
from multitudes.retrieval.config import RetrieveConfig
from multitudes.retrieval.search import NO_ITEMS, SearchResult, find_candidates
from multitudes.seeding import generator

PLACES = 100
POOL = 6 * PLACES  # proposals
PLAIN, ONE = "one vector, not calibrated", "one vector"
OPTIMUM, SEVERAL, RANDOM = "optimum", "several", "random parts"
# What a gain is of, and beyond what.
GAINS = ((SEVERAL, ONE), (SEVERAL, OPTIMUM), (SEVERAL, RANDOM), (ONE, PLAIN))
_RESAMPLES = 2_000
_USERS_PER_CHUNK = 16  # whose scores of all items are held

Column = NDArray[np.float64]


class ListFigures(NamedTuple):
    """What the lists of users do (B,)."""

    served: Column
    recall: Column  # probability that the next new item is in the list


class OneVector(NamedTuple):
    """One vector of each user, and the figures of its lists."""

    vector_BD: NDArray[np.float32]
    plain: ListFigures
    calibrated: ListFigures


class PlantedCell:
    """A world with its users, and the lists that vectors make for them."""

    def __init__(self, setting: Setting, users: int, seed: int) -> None:
        self.world: World = plant(setting, seed)
        self.users: Users = draw_users(self.world, setting, users, seed)
        self.taste_BL = self.world.taste_M[self.users.event_BL]
        self.history_BC = self._shares(self.users.event_BL)
        self._random = generator(seed, "phase lists", *setting)
        numbers = np.arange(1, setting.items + 1)  # of the items in the index: rows + 1
        taste = np.concatenate([[NO_TASTE], self.world.taste_M]).astype(np.int16)
        index = LiveIndex(ExactIndex.build(numbers, self.world.vector_MD))
        self._catalogue = Catalogue(index, np.zeros(setting.items + 1, dtype=np.int64), taste)

    def measure(self) -> dict[str, Column]:
        """Return each figure of each arm, by names such as ``served: several``."""
        one = max(self.one_vectors(self.mean_events()), key=lambda tried: tried.plain.recall.mean())
        known = self.one_vectors(self.mean_preferences())
        serves_most = max(known, key=lambda tried: tried.calibrated.served.mean())
        lists = {
            PLAIN: one.plain,
            ONE: one.calibrated,
            OPTIMUM: _best_of_each([tried.calibrated for tried in known]),
            SEVERAL: self.several_vectors(self.taste_BL),
            RANDOM: self.several_vectors(self._random.permuted(self.taste_BL, axis=1)),
        }
        found = {f"{name}: {arm}": column for arm, of in lists.items() for name, column in of._asdict().items()}
        depths = {ONE: one.vector_BD, OPTIMUM: serves_most.vector_BD}
        return found | {f"depth: {arm}": self._depth(vector_BD) for arm, vector_BD in depths.items()}

    def mean_events(self) -> Column:
        """Return the mean vector of each history (B, D)."""
        return np.asarray(self.world.vector_MD[self.users.event_BL].mean(axis=1, dtype=np.float64))

    def mean_preferences(self) -> Column:
        """Return the mean vector of what each user wants (B, D)."""
        vector_MD = self.world.vector_MD
        return np.array(
            [
                probability_R.astype(np.float32) @ vector_MD[first : first + len(probability_R)]
                for first, probability_R in self.users.preferences
            ],
            dtype=np.float64,
        )

    def one_vectors(self, target_BD: Column) -> list[OneVector]:
        """Return the vectors that are fitted to targets of these means, for each penalty."""
        n_items = len(self.world.vector_MD)
        sample = np.sort(self._random.choice(n_items, min(SAMPLE, n_items), replace=False))
        return [
            OneVector(vector_BD, *self._lists("unconditioned", vector_BD[:, None], np.ones((len(vector_BD), 1))))
            for vector_BD in likelihood_optima(target_BD, self.world.vector_MD[sample])
        ]

    def several_vectors(self, taste_BL: NDArray[np.int64]) -> ListFigures:
        """Return the figures of the lists of several vectors: for each taste, the mean of its events."""
        row_B, place_BL = np.arange(len(taste_BL)), taste_BL % GROUP
        weight_BK = class_shares(np.repeat(row_B, EVENTS), place_BL.ravel(), (len(row_B), GROUP))
        vector_BKD = np.zeros((*weight_BK.shape, self.world.vector_MD.shape[1]), dtype=np.float32)
        np.add.at(vector_BKD, (row_B[:, None], place_BL), self.world.vector_MD[self.users.event_BL])
        return self._lists("implicit", vector_BKD, weight_BK)[1]

    def judge(self, row_BN: NDArray[np.int64]) -> ListFigures:
        """Return the figures of lists, rows of items."""
        recall_B = np.empty(len(row_BN))
        for b, (first, probability_R) in enumerate(self.users.preferences):
            new_R = probability_R.copy()
            new_R[self.users.event_BL[b] - first] = 0
            own_N = row_BN[b] - first
            recall_B[b] = new_R[own_N[(own_N >= 0) & (own_N < len(new_R))]].sum() / new_R.sum()
        return ListFigures(np.nan_to_num(served_share(self._shares(row_BN), self.history_BC)), recall_B)

    def _lists(
        self, kind: InterestKind, vector_BKD: NDArray[np.float32], weight_BK: Column
    ) -> tuple[ListFigures, ListFigures]:
        """Return the figures of the plain and of the calibrated lists."""
        vectors = UserVectors(
            kinds=(kind,) * weight_BK.shape[1],
            vectors_BKD=vector_BKD,
            weight_BK=weight_BK.astype(np.float32),
            mask_BK=weight_BK > 0,
            topic_BK=np.zeros(weight_BK.shape, dtype=np.int64),
            assignment_BL=np.full(self.users.event_BL.shape, -1),
        )
        excluded, lists = [NO_ITEMS] * len(weight_BK), self._search(vectors)

        def figures(taste_BT: Column | None) -> ListFigures:
            own = vectors._replace(taste_BT=taste_BT)
            found = find_candidates(own, self._catalogue, PLACES, excluded, RetrieveConfig(), lists=lists)
            return self.judge(np.array([candidates.item_N - 1 for candidates in found]))

        return figures(None), figures(self.history_BC)

    def _search(self, vectors: UserVectors) -> SearchResult:
        """Return the best 6 N items of each vector that are not in the history."""
        user_Q, column_Q = np.nonzero(vectors.mask_BK)
        row_M = np.arange(len(self.world.vector_MD))
        hits = scan(vectors.vectors_BKD[user_Q, column_Q], row_M, self.world.vector_MD, POOL + EVENTS)
        pairs = zip(user_Q.tolist(), hits.id_QN, strict=True)
        is_seen_QN = np.array([np.isin(row_N, self.users.event_BL[b]) for b, row_N in pairs])
        order_QN = np.argsort(is_seen_QN, axis=1, kind="stable")[:, :POOL]
        id_QN = np.take_along_axis(hits.id_QN + 1, order_QN, axis=1)
        score_QN = np.take_along_axis(hits.score_QN, order_QN, axis=1)
        return SearchResult(user_Q, column_Q, Hits(id_QN, score_QN, np.full(len(id_QN), POOL)))

    def _depth(self, vector_BD: NDArray[np.float32]) -> Column:
        """Return the depth at coverage of one vector of each user (B,)."""
        depths = []
        for start in range(0, len(vector_BD), _USERS_PER_CHUNK):
            chunk = slice(start, start + _USERS_PER_CHUNK)
            score_BM = vector_BD[chunk] @ self.world.vector_MD.T
            np.put_along_axis(score_BM, self.users.event_BL[chunk], -np.inf, axis=1)
            depths.append(depth_at_coverage(score_BM, self.world.taste_M, self.history_BC[chunk]))
        return np.concatenate(depths)

    def _shares(self, row_BN: NDArray[np.int64]) -> Column:
        """Return the share of each taste in the items of users (B, C)."""
        user_P = np.repeat(np.arange(len(row_BN)), row_BN.shape[1])
        return class_shares(user_P, self.world.taste_M[row_BN.ravel()], (len(row_BN), TASTES))


def measure(setting: Setting, users: int, seeds: Sequence[int]) -> dict[str, Any]:
    """Return the figures of a cell, over the users of a world for each seed."""
    worlds = [PlantedCell(setting, users, seed).measure() for seed in seeds]
    column_B = {name: np.concatenate([world[name] for world in worlds]) for name in worlds[0]}
    record: dict[str, Any] = {"setting": setting._asdict(), "users": users * len(seeds)}
    for figure in ("depth", "served", "recall"):
        of_arm = {
            name.removeprefix(f"{figure}: "): value_B for name, value_B in column_B.items() if name.startswith(figure)
        }
        record[figure] = {arm: round_figure(value_B.mean()) for arm, value_B in of_arm.items()}
        if figure != "depth":
            record[f"{figure} gain"] = _gains(of_arm, generator(0, "phase intervals", figure, *setting))
    return record


def _gains(value: dict[str, Column], random: np.random.Generator) -> dict[str, dict[str, float]]:
    """Return the differences of arms with their intervals, paired by user."""
    arms, value_BM = list(value), np.stack(list(value.values()), axis=1)
    estimates = bootstrap_ratios(value_BM, np.ones_like(value_BM), _RESAMPLES, random)
    differences = {
        f"{arm} − {beside}": estimates.difference(arms.index(arm), arms.index(beside)) for arm, beside in GAINS
    }
    return {name: {key: round_figure(x) for key, x in of._asdict().items()} for name, of in differences.items()}


def _best_of_each(figures: Sequence[ListFigures]) -> ListFigures:
    """Return the best of each figure, by its mean over the users."""
    return ListFigures(*(max(columns, key=np.mean) for columns in zip(*figures, strict=True)))
