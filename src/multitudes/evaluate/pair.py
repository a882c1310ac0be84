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

from multitudes.batches.held_out import HeldOut, held_out, part
from multitudes.config import Config
from multitudes.errors import DataError
from multitudes.evaluate.baselines import Baselines
from multitudes.evaluate.config import EvaluateConfig, allowed_budgets, main_budget
from multitudes.evaluate.evaluate import Evaluation, asked_kinds
from multitudes.evaluate.outcomes import Answer, ItemFacts, Measures, joined, list_measures, table, target_measures
from multitudes.evaluate.scorer import Scorer
from multitudes.evaluate.serving import catalogue, user_vectors
from multitudes.evaluate.summary import Bootstrap, methods_and_differences
from multitudes.evaluate.targets import TargetKind, excluded, of_kind, sample, seen_items
from multitudes.index.scan import no_hits
from multitudes.progress import Progress, silent
from multitudes.retrieve.allocate import by_weight
from multitudes.retrieve.blend import round_robin
from multitudes.retrieve.catalogue import Catalogue
from multitudes.retrieve.find import POPULAR, Candidates, find
from multitudes.retrieve.plan import RetrieveConfig, fitted

METHOD: Literal["pair"] = "pair"
_USERS_AT_ONCE = 256


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
        return cls(run, catalogue(run, run.item_vectors()), fitted(retrieve, run.shares, run.blend))


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
    budgets = allowed_budgets(config.budgets, prepared.n_items)
    held = sample(held_out(prepared, config.split), config.max_users, config.seed)
    judge = _Judge(pair, share, budgets)
    bootstrap = Bootstrap(config.resamples, config.seed)
    blocks, frames = [], []
    for kind in asked_kinds(config, held):
        asked = of_kind(held, kind)
        if len(asked):
            targets, answers = target_measures(asked, judge.facts), judge.answers(asked, kind, progress)
            methods, _ = methods_and_differences(answers, targets, METHOD, bootstrap)
            blocks.append({"targets": kind, "users": len(asked), "methods": methods})
            frames.append(table(prepared.user_ids[asked.user_B], kind, targets, answers))
    if not blocks:
        raise DataError(f"{prepared.path}: no user has a target of this kind in the {config.split} split")
    heading = {"method": METHOD, "budget": main_budget(budgets), "budgets": list(budgets), "interests": {"sources": []}}
    return Evaluation(heading | blocks[0], pl.concat(frames))


class _Judge:
    """Asks a pair and the baselines."""

    def __init__(self, pair: Pair, share: float, budgets: tuple[int, ...]) -> None:
        self._pair, self._share, self._budgets = pair, share, budgets
        self._prepared = pair[0].run.prepared
        self._baselines = Baselines(self._prepared)
        self.facts = ItemFacts.of(self._prepared)

    def answers(self, asked: HeldOut, kind: TargetKind, progress: Progress) -> dict[Answer, Measures]:
        """Return what each user got, at every budget."""
        parts = []
        for start in range(0, len(asked), _USERS_AT_ONCE):
            progress(start, len(asked), "users")
            parts.append(self._answers(part(asked, np.arange(start, min(start + _USERS_AT_ONCE, len(asked)))), kind))
        return {answer: joined([one[answer] for one in parts]) for answer in parts[0]}

    def _answers(self, users: HeldOut, kind: TargetKind) -> dict[Answer, Measures]:
        past = seen_items(self._prepared, users)
        lists = served(self._pair, self._share, users, excluded(past, kind), self._budgets)
        found = {Answer(METHOD, n): item_BN for n, item_BN in lists.items()}
        for name, item_BN in self._baselines.lists(users, past, kind, max(self._budgets)).items():
            found |= {Answer(name, n): item_BN[:, :n] for n in self._budgets}
        return {answer: list_measures(item_BN, users, self.facts) for answer, item_BN in found.items()}


def served(
    pair: Pair, share: float, users: HeldOut, seen: Sequence[NDArray[np.int64]], budgets: tuple[int, ...]
) -> dict[int, NDArray[np.int64]]:
    """Return the lists (B, N) at each budget N; zeros at the end of a list are no candidates."""
    vectors = [user_vectors(member.run, users, member.retrieve) for member in pair]
    found = {}
    for n in budgets:
        places = by_weight([share, 1 - share], n)
        # Each as it answers to its own places, and how it would go on.
        asked = [
            [find(vectors[k], member.items, size, seen, member.retrieve) for size in (int(places[k]), n)]
            for k, member in enumerate(pair)
        ]
        found[n] = np.zeros((len(users), n), dtype=np.int64)
        for b in range(len(users)):
            lists = [[deeper[b] for deeper in answers] for answers in asked]
            item = merged([_found(*list_) for list_ in lists], places, _popular(lists[0][1]), n)
            found[n][b, : len(item)] = item
    return found


def merged(
    lists: list[NDArray[np.int64]], places: NDArray[np.int64], popular: NDArray[np.int64], n: int
) -> NDArray[np.int64]:
    """Let two lists take turns until each has had its places, then both go on; popular items fill what is short.

    Args:
        lists: the items that each found, best first.
        places: how many each may bring.
        popular: what stands in where both lists end; items in the lists may be among them.
        n: how many are wanted.
    """
    hits = no_hits(len(lists), max(map(len, lists)))
    for k, item in enumerate(lists):
        hits.id_QN[k, : len(item)], hits.count_Q[k] = item, len(item)
    blended_N = round_robin(hits, places, n).item_N
    rest = popular[~np.isin(popular, blended_N)]
    return np.concatenate([blended_N, rest])[:n]


def _found(own: Candidates, deeper: Candidates) -> NDArray[np.int64]:
    """Return what vectors found: first the answer to the run's own places, then what is further down."""
    item = np.concatenate([one.item_N[one.interest_N != POPULAR] for one in (own, deeper)])
    return np.array(list(dict.fromkeys(item.tolist())), dtype=np.int64)


def _popular(deeper: Candidates) -> NDArray[np.int64]:
    popular: NDArray[np.int64] = deeper.item_N[deeper.interest_N == POPULAR]
    return popular
