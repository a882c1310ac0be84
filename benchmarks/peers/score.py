"""Scores for lists of any origin, by the evaluator of this project.

Legend: B users · N places of a list.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.exchange import Sequences, lists_file
from multitudes.batches.held_out import HeldOut
from multitudes.errors import DataError
from multitudes.evaluation.list_metrics import ItemFacts
from multitudes.evaluation.outcomes import list_measures

BUDGETS = (10, 100)


class LearningCurve(NamedTuple):
    """Hit rate of a peer after each epoch, and the lists of its best epoch."""

    hit_rates: list[float]
    best_epoch: int  # counted from 1
    list_BN: NDArray[np.int64]


def learning_curve(folder: Path, epochs: int, held: HeldOut, seen: Sequences, facts: ItemFacts) -> LearningCurve:
    """Score the lists of every epoch.

    Raises:
        DataError: a list is not valid.
    """
    hit_rates, lists = [], []
    for epoch in range(1, epochs + 1):
        file = lists_file(folder, epoch)
        lists.append(np.load(file, allow_pickle=False))
        check_lists(lists[-1], seen, len(facts.popularity_class) - 1, str(file))
        hit_rates.append(float(list_measures(lists[-1], held, facts)["hits"].sum() / len(held.target)))
    best = int(np.argmax(hit_rates))
    return LearningCurve(hit_rates, best + 1, lists[best])


def check_lists(list_BN: NDArray[np.int64], seen: Sequences, n_items: int, name: str) -> None:
    """Reject lists that would be scored wrongly.

    Raises:
        DataError: an unknown item, an item twice, or an item that the user has seen; or a list too many or too few.
    """
    if list_BN.ndim != 2 or len(list_BN) != len(seen.user):
        raise DataError(f"{name}: lists of shape {list_BN.shape}; expected one for each of {len(seen.user)} users")
    if list_BN.min(initial=0) < 0 or list_BN.max(initial=0) > n_items:
        raise DataError(f"{name}: holds items beyond 1 to {n_items}; expected the numbers that were given")
    for row, listed_N in enumerate(list_BN):
        listed = listed_N[listed_N > 0]
        past = seen.item[seen.offset[row] : seen.offset[row + 1]]
        if len(np.unique(listed)) < len(listed) or np.isin(listed, past).any():
            raise DataError(f"{name}: user {seen.user[row]} gets an item twice or one that is in the history")
