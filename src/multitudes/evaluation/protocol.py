"""The offline protocol (Fan et al., KDD 2025): all systems at the same budget, over all items, for the same users.

A run is evaluated as several systems: its own method, and controls that show where its gain comes from.

============================ ======================================================================
system                       the question that it answers
============================ ======================================================================
the run's method             how good is the run, served as configured?
unconditioned                is one vector enough? All N candidates come from it
calibrated                   do several vectors matter? That one vector proposes, its list is divided among tastes too
implicit, explicit           what does each kind of vector find alone?
averaged                     do K searches beat one search with the weighted mean of the K vectors?
random_partition             do *interests* matter, or would any division of the history do?
other_user                   does the condition say which interest it is? Those of another user are served
round_robin, global_top, …   does the blend matter?
steck, mmr, dpp              is it enough to re-rank the list of one vector?
============================ ======================================================================

Beside these is the paper's offline figure: the score of an item is the maximum over the user's vectors, and all items
are ranked by it. It is not at equal budget, as every vector scores all items.

Legend: B users · K vectors · N candidates · D dimensions · I items · T targets.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from multitudes.batches.held_out import HeldOut, chunk_users, seen_items
from multitudes.batches.user_vectors import INTEREST_KINDS, InterestKind, UserVectors, columns_of
from multitudes.evaluation import health
from multitudes.evaluation.baselines import Baselines
from multitudes.evaluation.config import Controls, main_budget
from multitudes.evaluation.list_metrics import ItemFacts
from multitudes.evaluation.outcomes import ListKey, Measures, concatenate_measures, list_measures, target_measures
from multitudes.evaluation.reranked import RerankedSystems, one_vector_scores
from multitudes.evaluation.system_search import (
    Exclusion,
    RankedLists,
    RepeatSystems,
    lists_of_columns,
    ranked_lists,
    search_system,
)
from multitudes.evaluation.targets import TargetKind, TimeSegments, items_to_exclude, targets_of_kind
from multitudes.linear.reference_clusters import ReferenceClusters, ReferenceInterests
from multitudes.metrics import coverage, diversity, ranking
from multitudes.nn.methods import Partition
from multitudes.progress import Progress, silent
from multitudes.retrieval.allocation import proposals, vector_shares
from multitudes.retrieval.blend import BLENDS
from multitudes.retrieval.catalogue import Catalogue
from multitudes.retrieval.config import RetrieveConfig
from multitudes.retrieval.scorer import Scorer, user_vectors
from multitudes.retrieval.search import Candidates, SearchResult, search_vectors
from multitudes.threads import chosen_threads

# Users evaluated together. Each thread holds their scores of all items, about six times.
_BATCH_SIZE, _LEAST_BATCH, _BATCH_SCORES = 256, 16, 2**23
_SCORES = 2**27  # of all threads
_CONTROLS: dict[Partition, str] = {"random": "random_partition", "other_user": "other_user"}  # names of their systems


class System(NamedTuple):
    """Vectors of B users, and how they are served."""

    name: str
    vectors: UserVectors
    config: RetrieveConfig
    column_K: NDArray[np.bool_] | None = None  # which of the run's vectors they are; None: others


def systems(
    method: str, vectors: UserVectors, control_vectors: Mapping[Partition, UserVectors], config: RetrieveConfig
) -> list[System]:
    """Return the run's own system, named by its method, first; then the controls that its vectors allow.

    ``control_vectors`` are those of other partitions of the history; none without implicit interests.
    """
    every_K = np.ones(len(vectors.kinds), dtype=np.bool_)
    found = [System(method, vectors, config, every_K)]
    if len(vectors.kinds) == 1:
        return found
    kinds = [kind for kind in INTEREST_KINDS if kind in vectors.kinds and set(vectors.kinds) != {kind}]
    for kind in kinds:
        alone, column_K = vectors.of_kind(kind), columns_of(kind, vectors.kinds)
        plain = alone._replace(taste_BT=None) if kind == "unconditioned" else alone
        found.append(System(kind, plain, config, column_K))
    if vectors.taste_BT is not None and "unconditioned" in kinds:
        one = vectors.of_kind("unconditioned")
        found.append(System("calibrated", one, config, columns_of("unconditioned", vectors.kinds)))
    found.append(System("averaged", average_vectors(vectors, config), config))
    for partition, of_control in control_vectors.items():
        if _CONTROLS[partition] != method:  # the method random_partition is that control, trained
            found.append(System(_CONTROLS[partition], of_control, config))
    blends = [config.model_copy(update={"blend": blend}) for blend in BLENDS if blend != config.blend]
    return found + [System(each.blend, vectors, each, every_K) for each in blends]


def average_vectors(vectors: UserVectors, config: RetrieveConfig) -> UserVectors:
    """Return one vector per user: the mean of the user's vectors, with the weights of the blend."""
    share_BK = vector_shares(vectors, config)
    mean_BD = np.einsum("bk,bkd->bd", share_BK, vectors.vectors_BKD).astype(np.float32)
    exists_B1 = (vectors.mask_BK.sum(axis=1) > 0)[:, None]
    mean = UserVectors.alike(("unconditioned",), mean_BD[:, None], exists_B1, vectors.assignment_BL.shape[1])
    own = vectors.own and [one._replace(column_n=np.full(len(one.item_n), -1)) for one in vectors.own]
    return mean._replace(events_B=vectors.events_B, taste_BT=vectors.taste_BT, own=own)


def max_scores(vectors: UserVectors, item_ID: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the maximum score of each item over the user's vectors, shape (B, I).

    Minus infinity for the unknown item, for items whose vector is zeros, and for users without vectors.
    """
    score_BI = np.full((len(vectors.mask_BK), len(item_ID)), -np.inf, dtype=np.float32)
    for k in range(len(vectors.kinds)):
        exists_B = vectors.mask_BK[:, k]
        score_XI = vectors.vectors_BKD[exists_B, k] @ item_ID.T
        score_BI[exists_B] = np.maximum(score_BI[exists_B], score_XI, out=score_XI)
    score_BI[:, 0] = -np.inf
    score_BI[:, ~item_ID.any(axis=1)] = -np.inf  # items without a vector
    return score_BI


def max_score_ranks(score_BI: NDArray[np.float32], held: HeldOut, excluded: Exclusion) -> NDArray[np.float64]:
    """Return the middle rank of each target by the scores of ``max_scores`` (T,), infinite for users without vectors.

    The scores of excluded items become −∞.
    """
    score_BI[excluded.is_excluded_BI] = -np.inf
    return ranking.ranks_by_score(score_BI, held.target_offset, held.target)


@dataclass(frozen=True)
class Measurements:
    """Measures for one kind of targets; every array has one entry for each user of ``held``."""

    held: HeldOut
    kinds: tuple[InterestKind, ...]  # of the run's vectors
    targets: Measures
    lists: dict[ListKey, Measures]
    max_score: Measures
    interests: Measures


def batch_size_and_threads(items: int) -> tuple[int, int]:
    """Return how many users are evaluated together, and in how many threads: the more items, the fewer of both."""
    size = max(_LEAST_BATCH, min(_BATCH_SIZE, _BATCH_SCORES // items))
    return size, max(1, min(chosen_threads(), _SCORES // (size * items)))


class _SearchedUsers(NamedTuple):
    """Users, and what every kind of targets shares."""

    held: HeldOut
    histories: Sequence[NDArray[np.int64]]  # distinct items, newest event first
    vectors: UserVectors  # of the run
    systems: Sequence[tuple[System, tuple[int, ...]]]  # with the budgets of each; the run's own first
    max_score_BI: NDArray[np.float32]
    one_score_BI: NDArray[np.float32] | None  # by the one vector of the whole history; None: the run has none
    new: SearchResult  # what the run's vectors find beside the history
    own_new: dict[int, list[Candidates]]  # the lists of the run, by budget, of that


class Evaluator:
    """Evaluates one run and the baselines; data that all users share is computed once."""

    def __init__(
        self,
        run: Scorer,
        items: Catalogue,
        retrieve: RetrieveConfig,
        budgets: tuple[int, ...],
        controls: Controls = "main_budget",
        baselines: Baselines | None = None,
        segments: TimeSegments | None = None,
        reranked: RerankedSystems | None = None,
    ) -> None:
        self._run, self._retrieve, self._budgets, self._controls = run, retrieve, budgets, controls
        self._item_ID = run.item_vectors()
        self._catalogue = items
        self._facts = ItemFacts.from_prepared(run.prepared)
        self._reference = ReferenceClusters.from_prepared(run.prepared)
        self._baselines, self._segments, self._reranked = baselines, segments, reranked
        self._repeats: RepeatSystems | None = None  # for all targets

    def evaluate(
        self, held: HeldOut, kinds: Sequence[TargetKind], progress: Progress = silent
    ) -> dict[TargetKind, Measurements]:
        """Return the measures of all systems for each kind of targets; kinds without targets are absent."""
        batches: dict[TargetKind, list[Measurements]] = {kind: [] for kind in kinds}
        if "all" in kinds:  # fitted before threads ask for it
            self._repeats = RepeatSystems(self._run.prepared, self._catalogue)
        size, count = batch_size_and_threads(len(self._item_ID))
        chunks, done = list(chunk_users(held, size)), 0
        # Libraries use no threads of their own in the pool's: all would compete for the same cores.
        pool = ThreadPoolExecutor(count, initializer=threadpool_limits, initargs=(1,))
        progress(0, len(held), "users")
        with threadpool_limits(1), pool as threads:
            for users, measured in zip(chunks, threads.map(partial(self._evaluate_batch, kinds), chunks), strict=True):
                for kind, of_kind in measured.items():
                    batches[kind].append(of_kind)
                done += len(users)
                progress(done, len(held), "users")
        return {kind: _concatenate(targets_of_kind(held, kind), found) for kind, found in batches.items() if found}

    def _evaluate_batch(self, kinds: Sequence[TargetKind], held: HeldOut) -> dict[TargetKind, Measurements]:
        users = self._search(held)
        of_kinds = {kind: targets_of_kind(held, kind) for kind in kinds}
        return {kind: self._measure(of_kind, kind, users) for kind, of_kind in of_kinds.items() if len(of_kind)}

    def _search(self, held: HeldOut) -> _SearchedUsers:
        """Make the vectors of users, for every system, and the lists of the run."""
        histories = seen_items(self._run.prepared, held)
        vectors = user_vectors(self._run, held, self._retrieve, self._catalogue)
        controls: dict[Partition, UserVectors] = {}
        if self._controls != "none" and "implicit" in vectors.kinds:
            for name in self._run.controls:
                controls[name] = user_vectors(self._run, held, self._retrieve, self._catalogue, name)
        of_systems = systems(self._run.config.method, vectors, controls, self._retrieve)
        scores = max_scores(vectors, self._item_ID), one_vector_scores(vectors, self._item_ID, self._run.neighbours)
        new = self._search_shared(vectors, histories)
        own_new = search_system(vectors, self._catalogue, self._budgets, histories, self._retrieve, new)
        main, evaluated = (main_budget(self._budgets),), [(of_systems[0], self._budgets)]
        for system in of_systems[1:] if self._controls != "none" else ():
            at_all_budgets = self._controls == "all_budgets" or len(system.vectors.kinds) == 1
            evaluated.append((system, self._budgets if at_all_budgets else main))
        return _SearchedUsers(held, histories, vectors, evaluated, *scores, new, own_new)

    def _search_shared(self, vectors: UserVectors, excluded: Sequence[NDArray[np.int64]]) -> SearchResult:
        """Return what each vector of the run finds for lists of up to the main budget, by any blend."""
        depth_B1 = proposals(vectors, main_budget(self._budgets))
        return search_vectors(vectors, self._catalogue, depth_B1, excluded, self._retrieve)

    def _measure(self, held: HeldOut, kind: TargetKind, users: _SearchedUsers) -> Measurements:
        """Return the measures of all systems for those users who have targets of a kind."""
        row_B = np.searchsorted(users.held.user_B, held.user_B)
        histories = [users.histories[b] for b in row_B.tolist()]
        excluded = Exclusion.of_items(items_to_exclude(histories, kind), len(self._item_ID))
        new = {n: [found[b] for b in row_B.tolist()] for n, found in users.own_new.items()}
        lists = self._lists(users, row_B, excluded, new if kind == "new" else None)
        labels = self._segments.labels(held) if self._segments else None
        reference = self._reference.interests(self._run.prepared, held)
        item_lists = {key: ranked.item_BN for key, ranked in lists.items()}
        if kind == "all" and self._repeats is not None:
            item_lists |= self._repeats.lists(held, new, histories, control=bool(self._baselines))
        if users.one_score_BI is not None and self._reranked is not None:
            short = [n for n in self._budgets if n <= main_budget(self._budgets)]
            item_lists |= self._reranked.lists(users.one_score_BI[row_B], held, excluded.items, short)
        listed = self._baselines.lists(held, histories, kind, max(self._budgets)) if self._baselines else {}
        for name, ranked_BN in listed.items():
            item_lists |= {ListKey(name, budget): ranked_BN[:, :budget] for budget in self._budgets}
        rank_T = max_score_ranks(users.max_score_BI[row_B], held, excluded)
        return Measurements(
            held=held,
            kinds=users.vectors.kinds,
            targets=target_measures(held, self._facts, labels, reference),
            lists={
                key: list_measures(found, held, self._facts, labels, reference) for key, found in item_lists.items()
            },
            max_score={f"hr@{n}": ranking.hits(rank_T, held.target_offset, n) for n in self._budgets},
            interests=self._interests(held, users.vectors.select(row_B), lists)
            | self._depth(users, row_B, excluded, reference),
        )

    def _lists(
        self,
        users: _SearchedUsers,
        row_B: NDArray[np.int64],
        excluded: Exclusion,
        own: dict[int, list[Candidates]] | None,
    ) -> dict[ListKey, RankedLists]:
        """Return the lists of each system at each budget; ``own`` are those of the run without the history, or None."""
        is_new, lists = own is not None, dict[ListKey, RankedLists]()
        shared = users.new.select(row_B) if is_new else self._search_shared(users.vectors.select(row_B), excluded.items)
        for system, budgets in users.systems:
            vectors, found, own = system.vectors.select(row_B), own, None
            if found is None:
                known = None if system.column_K is None else lists_of_columns(shared, system.column_K)
                found = search_system(vectors, self._catalogue, budgets, excluded.items, system.config, known)
            lists |= {ListKey(system.name, n): ranked_lists(candidates, n) for n, candidates in found.items()}
        return lists

    def _interests(self, held: HeldOut, vectors: UserVectors, lists: dict[ListKey, RankedLists]) -> Measures:
        budget = main_budget(self._budgets)
        own = lists[ListKey(self._run.config.method, budget)]
        measures = health.vector_measures(vectors)
        measures |= health.source_measures(own.item_BN, own.interest_BN, held, len(vectors.kinds))
        alone = [lists.get(ListKey(kind, budget)) for kind in ("implicit", "explicit")]
        if alone[0] is not None and alone[1] is not None:
            measures["overlap"] = diversity.overlap(alone[0].item_BN, alone[1].item_BN)
        return measures

    def _depth(
        self, users: _SearchedUsers, row_B: NDArray[np.int64], excluded: Exclusion, reference: ReferenceInterests
    ) -> Measures:
        """Return how deep the list of the one vector of the whole history is where it reaches a user's interests."""
        if users.one_score_BI is None:
            return {}
        score_BI = np.where(excluded.is_excluded_BI, -np.inf, users.one_score_BI[row_B])
        return {"depth_at_coverage": coverage.depth_at_coverage(score_BI, *reference.clusters)}


def _concatenate(held: HeldOut, batches: list[Measurements]) -> Measurements:
    targets, max_score, interests = (
        concatenate_measures([getattr(batch, name) for batch in batches])
        for name in ("targets", "max_score", "interests")
    )
    lists = {key: concatenate_measures([batch.lists[key] for batch in batches]) for key in batches[0].lists}
    return Measurements(held, batches[0].kinds, targets, lists, max_score, interests)
