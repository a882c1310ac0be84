"""Two runs as one system: two models, two indexes, one list. A joint model has to beat it to be worth its training.

Each run fills its share of the N places with the candidates that it serves alone; the two take turns. An item that
both find takes one place, and the place that becomes free goes to the next candidate.

Legend: B users · N candidates.
"""

from collections.abc import Sequence
from functools import partial
from typing import Literal, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field

from multitudes.batches.held_out import HeldOut, held_out_users, seen_items
from multitudes.config import Config
from multitudes.errors import DataError
from multitudes.evaluation.baselines import Baselines, fit_baselines
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
from multitudes.evaluation.protocol import evaluate_in_threads
from multitudes.evaluation.target_segments import TimeSegments, time_segments
from multitudes.evaluation.targets import TargetKind, items_to_exclude, subsample, targets_of_kind
from multitudes.index.protocol import empty_hits
from multitudes.linear.judge import Judge
from multitudes.progress import Progress, silent
from multitudes.retrieval.allocation import allocate_by_weight, without_history
from multitudes.retrieval.blend import round_robin
from multitudes.retrieval.catalogue import Catalogue
from multitudes.retrieval.config import RetrieveConfig, with_run_defaults
from multitudes.retrieval.scorer import Scorer, catalogue, user_vectors
from multitudes.retrieval.search import POPULAR, Candidates, find_candidates

METHOD: Literal["pair"] = "pair"


class PairConfig(Config):
    """Settings of a pair."""

    share: float = Field(0.5, ge=0, le=1, description="share of the places that the first run fills")


class PairRunConfig(Config):
    """The settings of a pair beside its two runs; the names are those of a trained run's settings."""

    method: Literal["pair"] = METHOD
    seed: int = 0
    model: PairConfig = PairConfig()


class Member(NamedTuple):
    """One run of a pair: its items, and how it is served."""

    run: Scorer
    items: Catalogue
    retrieve: RetrieveConfig

    @classmethod
    def from_run(cls, run: Scorer, retrieve: RetrieveConfig) -> "Member":
        """Return a run as it is served alone."""
        return cls(
            run,
            catalogue(run, run.item_vectors()),
            with_run_defaults(retrieve, run.shares, run.blend, run.calibration),
        )


Pair = tuple[Member, Member]


def evaluate_pair(pair: Pair, share: float, config: EvaluateConfig, progress: Progress = silent) -> Evaluation:
    """Evaluate two runs as one system, by the protocol of ``evaluate`` and beside the same baselines.

    Args:
        pair: two runs on the same data.
        share: share of the places that the first run fills.
        config: settings of the protocol; a pair has no controls.
        progress: called with the number of users done.

    Returns:
        Figures of the pair and the baselines, and the outcomes of each user.

    Raises:
        DataError: no user has a target of the chosen kinds.
        UsageError: the data do not allow a segmentation that the settings name.
    """
    prepared = pair[0].run.prepared
    budgets = feasible_budgets(config.budgets, prepared.n_items)
    held = subsample(held_out_users(prepared, config.split), config.max_users, config.seed)
    kinds = target_kinds(config, held)
    segments = time_segments(prepared, config.split, config.segments)
    baselines, records = fit_baselines(prepared, held, kinds, budgets, config.baselines, progress)
    evaluator = _PairEvaluator(pair, share, budgets, baselines, segments)
    bootstrap = Bootstrap(config.resamples, config.seed)
    figures, tables = [], []
    for kind in kinds:
        users = targets_of_kind(held, kind)
        if len(users):
            targets, lists = evaluator.evaluate(users, kind, progress)
            methods, _ = methods_and_differences(lists, targets, METHOD, bootstrap)
            figures.append({"targets": kind, "users": len(users), "methods": methods})
            tables.append(outcome_table(prepared.user_ids[users.user_B], kind, targets, lists))
    if not figures:
        raise DataError(f"{prepared.path}: no user has a target of this kind in the {config.split} split")
    heading = {"method": METHOD, "budget": main_budget(budgets), "budgets": list(budgets), "interests": {"sources": []}}
    heading |= {"baselines": records}
    return Evaluation(heading | figures[0], pl.concat(tables))


class _PairEvaluator:
    """Evaluates a pair and the baselines."""

    def __init__(
        self,
        pair: Pair,
        share: float,
        budgets: tuple[int, ...],
        baselines: Baselines | None,
        segments: TimeSegments,
    ) -> None:
        self._pair, self._share, self._budgets, self._segments = pair, share, budgets, segments
        self._prepared = pair[0].run.prepared
        self._baselines = baselines
        self._facts, self._judge = ItemFacts.from_prepared(self._prepared), Judge.from_prepared(self._prepared)

    def evaluate(self, held: HeldOut, kind: TargetKind, progress: Progress) -> tuple[Measures, dict[ListKey, Measures]]:
        """Return the measures of the targets, and those of the pair and of each baseline at every budget."""
        evaluate_batch = partial(self._evaluate_users, kind)
        batches = list(evaluate_in_threads(held, self._prepared.n_items, evaluate_batch, progress))
        targets, lists = [of_targets for of_targets, _ in batches], [of_lists for _, of_lists in batches]
        by_list = {key: concatenate_measures([batch[key] for batch in lists]) for key in lists[0]}
        return concatenate_measures(targets), by_list

    def _evaluate_users(self, kind: TargetKind, users: HeldOut) -> tuple[Measures, dict[ListKey, Measures]]:
        histories = seen_items(self._prepared, users)
        of_pair = pair_lists(self._pair, self._share, users, items_to_exclude(histories, kind), self._budgets)
        lists = {ListKey(METHOD, n): item_BN for n, item_BN in of_pair.items()}
        listed = self._baselines.lists(users, histories, kind, max(self._budgets)) if self._baselines else {}
        for name, item_BN in listed.items():
            lists |= {ListKey(name, n): item_BN[:, :n] for n in self._budgets}
        of_users = self._segments.labels(users), self._judge.interests(self._prepared, users)
        measures = {key: list_measures(item_BN, users, self._facts, *of_users) for key, item_BN in lists.items()}
        return target_measures(users, self._facts, *of_users), measures


def pair_lists(
    pair: Pair, share: float, users: HeldOut, seen: Sequence[NDArray[np.int64]], budgets: tuple[int, ...]
) -> dict[int, NDArray[np.int64]]:
    """Return the lists (B, N) of a pair at each budget N; zeros at the end of a list are not candidates."""
    vectors = [user_vectors(member.run, users, member.retrieve, member.items) for member in pair]
    popular_KB = [without_history(own)[1] for own in vectors]
    lists = {}
    for n in budgets:
        places = allocate_by_weight([share, 1 - share], n)
        # Of each run, a list for its own places, and a longer one that fills places which become free.
        found = [
            [find_candidates(vectors[k], member.items, size, seen, member.retrieve) for size in (int(places[k]), n)]
            for k, member in enumerate(pair)
        ]
        lists[n] = np.zeros((len(users), n), dtype=np.int64)
        for b in range(len(users)):
            of_user = [[candidates[b] for candidates in sizes] for sizes in found]
            ranked = [
                _own_items(own, longer, takes_turns=bool(popular_KB[k][b])) for k, (own, longer) in enumerate(of_user)
            ]
            item = merge_lists(ranked, places, _popular_items(of_user[0][1]), n)
            lists[n][b, : len(item)] = item
    return lists


def merge_lists(
    lists: list[NDArray[np.int64]], places: NDArray[np.int64], popular: NDArray[np.int64], n: int
) -> NDArray[np.int64]:
    """Return two lists merged in turns until each has filled its places, then in turns; popular items fill the rest.

    Args:
        lists: the items of each run, best first.
        places: number of places of each run.
        popular: fills places after both lists end; may repeat items of the lists.
        n: number of items to return.
    """
    hits = empty_hits(len(lists), max(map(len, lists)))
    for k, item in enumerate(lists):
        hits.id_QN[k, : len(item)], hits.count_Q[k] = item, len(item)
    blended_N = round_robin(hits, places, n).item_N
    rest = popular[~np.isin(popular, blended_N)]
    return np.concatenate([blended_N, rest])[:n]


def _own_items(own: Candidates, longer: Candidates, *, takes_turns: bool) -> NDArray[np.int64]:
    """Return what a run brings: first the items for its own places, then those of the longer list.

    Popular items belong to it where they take turns with its vectors.
    """
    item = np.concatenate([one.item_N[takes_turns | (one.interest_N != POPULAR)] for one in (own, longer)])
    return np.array(list(dict.fromkeys(item.tolist())), dtype=np.int64)


def _popular_items(candidates: Candidates) -> NDArray[np.int64]:
    popular: NDArray[np.int64] = candidates.item_N[candidates.interest_N == POPULAR]
    return popular
