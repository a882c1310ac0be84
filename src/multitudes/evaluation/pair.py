"""Two runs as one system: two models, two indexes, one list. What one joint model has to be worth more than.

Each run brings its share of the N places, served as it is served alone; the two take turns, an item that both found
counts once, and a place lost to the other goes to the next deeper candidate.

Legend: B users · N candidates.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field

from multitudes.batches.held_out import HeldOut, held_out_users, select_users
from multitudes.config import Config
from multitudes.errors import DataError
from multitudes.evaluation.baselines import Baselines
from multitudes.evaluation.config import EvaluateConfig, feasible_budgets, main_budget
from multitudes.evaluation.evaluate import Evaluation, target_kinds
from multitudes.evaluation.outcomes import (
    Bootstrap,
    ItemFacts,
    ListKey,
    Measures,
    concatenate_measures,
    list_measures,
    methods_and_differences,
    outcome_table,
    target_measures,
)
from multitudes.evaluation.scorer import Scorer, catalogue, user_vectors
from multitudes.evaluation.targets import TargetKind, items_to_exclude, seen_items, subsample, targets_of_kind
from multitudes.index.hits import empty_hits
from multitudes.progress import Progress, silent
from multitudes.retrieval.allocation import allocate_by_weight
from multitudes.retrieval.blend import round_robin
from multitudes.retrieval.catalogue import Catalogue
from multitudes.retrieval.config import RetrieveConfig, with_run_defaults
from multitudes.retrieval.search import POPULAR, Candidates, find_candidates

METHOD: Literal["pair"] = "pair"
_BATCH_SIZE = 256


class PairConfig(Config):
    """Settings of a pair."""

    share: float = Field(0.5, ge=0, le=1, description="of the places that the first of the two brings")


class PairRunConfig(Config):
    """What decides a pair beside its two runs; named as the settings of a trained run are."""

    method: Literal["pair"] = METHOD
    seed: int = 0
    model: PairConfig = PairConfig()


class Member(NamedTuple):
    """One of the two: a run, its items, and how it is served."""

    run: Scorer
    items: Catalogue
    retrieve: RetrieveConfig

    @classmethod
    def of(cls, run: Scorer, retrieve: RetrieveConfig) -> "Member":
        """Return a run as it is served alone."""
        return cls(run, catalogue(run, run.item_vectors()), with_run_defaults(retrieve, run.shares, run.blend))


Pair = tuple[Member, Member]


def evaluate_pair(pair: Pair, share: float, config: EvaluateConfig, progress: Progress = silent) -> Evaluation:
    """Evaluate two runs as one system, by the protocol of ``evaluate`` and beside the same baselines.

    Args:
        pair: two runs on the same data.
        share: of the places that the first one brings.
        config: what is asked; a pair has no controls.
        progress: told of the users done.

    Raises:
        DataError: nobody has a target of the kinds asked for.
    """
    prepared = pair[0].run.prepared
    budgets = feasible_budgets(config.budgets, prepared.n_items)
    held = subsample(held_out_users(prepared, config.split), config.max_users, config.seed)
    judge = _PairEvaluator(pair, share, budgets)
    bootstrap = Bootstrap(config.resamples, config.seed)
    blocks, frames = [], []
    for kind in target_kinds(config, held):
        asked = targets_of_kind(held, kind)
        if len(asked):
            targets, answers = target_measures(asked, judge.facts), judge.evaluate(asked, kind, progress)
            methods, _ = methods_and_differences(answers, targets, METHOD, bootstrap)
            blocks.append({"targets": kind, "users": len(asked), "methods": methods})
            frames.append(outcome_table(prepared.user_ids[asked.user_B], kind, targets, answers))
    if not blocks:
        raise DataError(f"{prepared.path}: no user has a target of this kind in the {config.split} split")
    heading = {"method": METHOD, "budget": main_budget(budgets), "budgets": list(budgets), "interests": {"sources": []}}
    return Evaluation(heading | blocks[0], pl.concat(frames))


class _PairEvaluator:
    """Asks a pair and the baselines."""

    def __init__(self, pair: Pair, share: float, budgets: tuple[int, ...]) -> None:
        self._pair, self._share, self._budgets = pair, share, budgets
        self._prepared = pair[0].run.prepared
        self._baselines = Baselines(self._prepared)
        self.facts = ItemFacts.of(self._prepared)

    def evaluate(self, asked: HeldOut, kind: TargetKind, progress: Progress) -> dict[ListKey, Measures]:
        """Return what each user got, at every budget."""
        parts = []
        for start in range(0, len(asked), _BATCH_SIZE):
            progress(start, len(asked), "users")
            parts.append(
                self._evaluate_users(select_users(asked, np.arange(start, min(start + _BATCH_SIZE, len(asked)))), kind)
            )
        return {answer: concatenate_measures([one[answer] for one in parts]) for answer in parts[0]}

    def _evaluate_users(self, users: HeldOut, kind: TargetKind) -> dict[ListKey, Measures]:
        past = seen_items(self._prepared, users)
        lists = pair_lists(self._pair, self._share, users, items_to_exclude(past, kind), self._budgets)
        found = {ListKey(METHOD, n): item_BN for n, item_BN in lists.items()}
        for name, item_BN in self._baselines.lists(users, past, kind, max(self._budgets)).items():
            found |= {ListKey(name, n): item_BN[:, :n] for n in self._budgets}
        return {answer: list_measures(item_BN, users, self.facts) for answer, item_BN in found.items()}


def pair_lists(
    pair: Pair, share: float, users: HeldOut, seen: Sequence[NDArray[np.int64]], budgets: tuple[int, ...]
) -> dict[int, NDArray[np.int64]]:
    """Return the lists (B, N) at each budget N; zeros at the end of a list are no candidates."""
    vectors = [user_vectors(member.run, users, member.retrieve) for member in pair]
    found = {}
    for n in budgets:
        places = allocate_by_weight([share, 1 - share], n)
        # Each as it answers to its own places, and how it would go on.
        asked = [
            [find_candidates(vectors[k], member.items, size, seen, member.retrieve) for size in (int(places[k]), n)]
            for k, member in enumerate(pair)
        ]
        found[n] = np.zeros((len(users), n), dtype=np.int64)
        for b in range(len(users)):
            lists = [[deeper[b] for deeper in answers] for answers in asked]
            item = merge_lists([_vector_items(*list_) for list_ in lists], places, _popular_items(lists[0][1]), n)
            found[n][b, : len(item)] = item
    return found


def merge_lists(
    lists: list[NDArray[np.int64]], places: NDArray[np.int64], popular: NDArray[np.int64], n: int
) -> NDArray[np.int64]:
    """Let two lists take turns until each has had its places, then both go on; popular items fill what is short.

    Args:
        lists: the items that each found, best first.
        places: how many each may bring.
        popular: what stands in where both lists end; items in the lists may be among them.
        n: how many are wanted.
    """
    hits = empty_hits(len(lists), max(map(len, lists)))
    for k, item in enumerate(lists):
        hits.id_QN[k, : len(item)], hits.count_Q[k] = item, len(item)
    blended_N = round_robin(hits, places, n).item_N
    rest = popular[~np.isin(popular, blended_N)]
    return np.concatenate([blended_N, rest])[:n]


def _vector_items(own: Candidates, deeper: Candidates) -> NDArray[np.int64]:
    """Return what vectors found: first the answer to the run's own places, then what is further down."""
    item = np.concatenate([one.item_N[one.interest_N != POPULAR] for one in (own, deeper)])
    return np.array(list(dict.fromkeys(item.tolist())), dtype=np.int64)


def _popular_items(deeper: Candidates) -> NDArray[np.int64]:
    popular: NDArray[np.int64] = deeper.item_N[deeper.interest_N == POPULAR]
    return popular
