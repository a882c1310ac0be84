"""The offline protocol: every system, at the same budget, over the full corpus, for the same users (method §9).

Legend: B users · K vectors · N candidates · D dimensions · I items.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from multitudes.batches.held_out import HeldOut, part
from multitudes.batches.vectors import Kind, UserVectors
from multitudes.evaluate import health
from multitudes.evaluate.baselines import Baselines
from multitudes.evaluate.config import Controls, main_budget
from multitudes.evaluate.max_score import max_score_ranks
from multitudes.evaluate.outcomes import Answer, ItemFacts, Measures, joined, list_measures, target_measures
from multitudes.evaluate.scorer import Scorer
from multitudes.evaluate.serving import Lists, as_lists, catalogue, user_vectors
from multitudes.evaluate.systems import System, systems
from multitudes.evaluate.targets import TargetKind, excluded, of_kind, seen_items
from multitudes.metrics import ranking
from multitudes.progress import Progress, silent
from multitudes.retrieve.find import find
from multitudes.retrieve.plan import RetrieveConfig

_USERS_AT_ONCE = 256


@dataclass(frozen=True)
class Judged:
    """What was measured for one kind of targets; every array has one entry for each user of ``held``."""

    held: HeldOut
    kinds: tuple[Kind, ...]  # of the run's vectors
    targets: Measures
    answers: dict[Answer, Measures]
    max_score: Measures
    interests: Measures


class Judge:
    """Asks one run and the baselines; what all users share is made once."""

    def __init__(
        self, run: Scorer, retrieve: RetrieveConfig, budgets: tuple[int, ...], controls: Controls = "main_budget"
    ) -> None:
        self._run, self._retrieve, self._budgets, self._controls = run, retrieve, budgets, controls
        self._item_ID = run.item_vectors()
        self._catalogue = catalogue(run, self._item_ID)
        self._facts = ItemFacts.of(run.prepared)
        self._baselines = Baselines(run.prepared)

    def judge(
        self, held: HeldOut, kinds: Sequence[TargetKind], progress: Progress = silent
    ) -> dict[TargetKind, Judged]:
        """Return what every system found of the targets of each kind; a kind of which nobody has targets is absent."""
        parts: dict[TargetKind, list[Judged]] = {kind: [] for kind in kinds}
        for start in range(0, len(held), _USERS_AT_ONCE):
            progress(start, len(held), "users")
            users = part(held, np.arange(start, min(start + _USERS_AT_ONCE, len(held))))
            vectors, at_random = self._vectors(users)
            for kind in kinds:
                asked = of_kind(users, kind)
                row_B = np.searchsorted(users.user_B, asked.user_B)
                if len(asked):
                    random_rows = None if at_random is None else at_random.rows(row_B)
                    parts[kind].append(self._judge_users(asked, kind, vectors.rows(row_B), random_rows))
        progress(len(held), len(held), "users")
        return {kind: _joined(of_kind(held, kind), judged) for kind, judged in parts.items() if judged}

    def _vectors(self, users: HeldOut) -> tuple[UserVectors, UserVectors | None]:
        """Return the users' vectors, and those of a random partition where there are interests to compare with."""
        vectors = user_vectors(self._run, users, self._retrieve)
        if self._controls == "none" or "implicit" not in vectors.kinds:
            return vectors, None
        return vectors, user_vectors(self._run, users, self._retrieve, "random")

    def _judge_users(
        self, asked: HeldOut, kind: TargetKind, vectors: UserVectors, at_random: UserVectors | None
    ) -> Judged:
        past = seen_items(self._run.prepared, asked)
        seen = excluded(past, kind)
        own, *others = systems(self._run.config.method, vectors, at_random, self._retrieve)
        lists = self._serve(own, self._budgets, seen)
        for system in others if self._controls != "none" else ():
            everywhere = self._controls == "all_budgets" or system.one_query
            lists |= self._serve(system, self._budgets if everywhere else (main_budget(self._budgets),), seen)
        answers = {answer: list_measures(found.item_BN, asked, self._facts) for answer, found in lists.items()}
        for name, ranked_BN in self._baselines.lists(asked, past, kind, max(self._budgets)).items():
            for budget in self._budgets:
                answers[Answer(name, budget)] = list_measures(ranked_BN[:, :budget], asked, self._facts)
        return Judged(
            held=asked,
            kinds=vectors.kinds,
            targets=target_measures(asked, self._facts),
            answers=answers,
            max_score=self._max_score(asked, vectors, seen),
            interests=self._interests(asked, vectors, lists),
        )

    def _serve(
        self, system: System, budgets: tuple[int, ...], seen: Sequence[NDArray[np.int64]]
    ) -> dict[Answer, Lists]:
        """Return what a system answers to each budget: never the beginning of a longer list, unless it is the same."""
        # One query gives one order, of which every budget takes the beginning; a blend divides every budget anew.
        asked = budgets[-1:] if system.one_query else budgets
        found = {n: as_lists(find(system.vectors, self._catalogue, n, seen, system.config), n) for n in asked}
        return {Answer(system.name, n): found.get(n, found[asked[-1]]).best(n) for n in budgets}

    def _max_score(self, asked: HeldOut, vectors: UserVectors, seen: Sequence[NDArray[np.int64]]) -> Measures:
        rank_T = max_score_ranks(vectors, self._item_ID, asked, seen)
        return {f"hr@{budget}": ranking.hits(rank_T, asked.target_offset, budget) for budget in self._budgets}

    def _interests(self, asked: HeldOut, vectors: UserVectors, lists: dict[Answer, Lists]) -> Measures:
        budget = main_budget(self._budgets)
        own = lists[Answer(self._run.config.method, budget)]
        measures = health.vector_measures(vectors)
        measures |= health.source_measures(own.item_BN, own.interest_BN, asked, len(vectors.kinds))
        alone = [lists.get(Answer(kind, budget)) for kind in ("implicit", "explicit")]
        if alone[0] is not None and alone[1] is not None:
            measures |= health.overlap_measures(alone[0].item_BN, alone[1].item_BN)
        return measures


def _joined(held: HeldOut, parts: list[Judged]) -> Judged:
    return Judged(
        held=held,
        kinds=parts[0].kinds,
        targets=joined([p.targets for p in parts]),
        answers={answer: joined([p.answers[answer] for p in parts]) for answer in parts[0].answers},
        max_score=joined([p.max_score for p in parts]),
        interests=joined([p.interests for p in parts]),
    )
