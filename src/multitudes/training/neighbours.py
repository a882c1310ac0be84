"""The neighbours of a trained run: fitted after the last epoch, and weighed by what both find on validation.

    score of item j = v · x_j + w Σ_i w_i B_ij

The tower is not trained again. The settings of the fit, the recency and w are those with the highest hit rate of the
vector of the whole history with its neighbours, on the users who judged the epochs and others: what finds most alone
may be what the tower knows already. The grid of w is relative to the spread of both scores over all items. If the tower
alone finds as much, the run has no neighbours.

The paper has no such path (a deviation): its vectors are of low rank, and neighbours remember what they cannot hold
(``docs/methods/neighbours.md``).

Legend: B users · D width of the vectors · I items.
"""

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from threadpoolctl import threadpool_limits

from multitudes.batches.held_out import HeldOut, seen_items, select_targets, select_users
from multitudes.data.own_items import positive_items
from multitudes.linear.history import HistoryModel
from multitudes.linear.interactions import history_matrix, interaction_matrix
from multitudes.linear.neighbour_fit import choose_neighbours, fit_rows
from multitudes.linear.neighbours import MAX_HISTORY, NeighbourSource
from multitudes.metrics.ranking import hits_of_scores, target_rows
from multitudes.progress import Progress, silent
from multitudes.retrieval.config import RetrieveConfig
from multitudes.retrieval.scorer import catalogue, user_vectors
from multitudes.training.trained_run import TrainedRun

RELATIVE_WEIGHTS: Final = (0.125, 0.25, 0.5, 1.0)  # spread of the sums over that of the tower's scores
_JUDGED_WEIGHTS: Final = RELATIVE_WEIGHTS[::2]  # under which the settings of the fit are compared
JUDGES: Final = 5  # times as many users as judge an epoch: a choice among many needs more of them
_MAX_SCORES: Final = 10**8  # of all users: bounds their number on a large corpus
_SCORES_PER_CHUNK: Final = 1 << 24


class FittedNeighbours(NamedTuple):
    """Neighbours, what is found with them on validation, and what the run's record says of them."""

    source: NeighbourSource | None  # None: the tower alone finds as much
    hit_rate: float
    record: dict[str, Any]


def fit_run_neighbours(run: TrainedRun, held: HeldOut, progress: Progress = silent) -> FittedNeighbours | None:
    """Fit the neighbours of a run with the weights of its best epoch, and without neighbours.

    None where nobody can choose, as where validation events are trained on.
    """
    config = run.config
    if (chosen := config.neighbour_fit) is not None:
        matrix = interaction_matrix(run.prepared, include_validation=config.final)
        rows = fit_rows(matrix, chosen, progress)
        return FittedNeighbours(NeighbourSource(rows, chosen), 0.0, chosen.model_dump(mode="json"))
    if config.final or not held.target_is_first_time.any():
        return None
    matrix = interaction_matrix(run.prepared)
    lists = _JoinedLists(run, held, min(config.train.eval_k, run.prepared.n_items))
    rows, fitted, _, trials = choose_neighbours(matrix, lists.judge, progress)
    rates = lists.hit_rates(rows, fitted.recency, RELATIVE_WEIGHTS)
    weight, rate = max(rates.items(), key=lambda one: one[1])
    fitted = fitted.model_copy(update={"weight": weight})
    record = fitted.model_dump(mode="json") | {"tower_hit_rate": lists.tower_hit_rate, "trials": trials}
    if rate <= lists.tower_hit_rate or not weight:
        return FittedNeighbours(None, lists.tower_hit_rate, record)
    return FittedNeighbours(NeighbourSource(rows, fitted), rate, record)


class _JoinedLists:
    """Hit rates of validation users with any neighbours and weights; the scores of the tower are its own."""

    def __init__(self, run: TrainedRun, held: HeldOut, n: int) -> None:
        """Compute the vectors of the tower alone: the unconditioned ones, if there are such."""
        users, self._item_ID = select_targets(held, held.target_is_first_time), run.item_vectors()
        most = max(1, _MAX_SCORES // len(self._item_ID))
        users = select_users(users, np.arange(0, len(users), -(-len(users) // most)))  # the first of a file differ
        self._n, self._users, self._seen = n, users, seen_items(run.prepared, users)
        items = catalogue(run, self._item_ID, tastes=False)
        tower = user_vectors(run, users, RetrieveConfig(calibration=0.0), items)
        one = tower.of_kind("unconditioned") if "unconditioned" in tower.kinds else tower
        self._vector_BD = one.vectors_BKD[np.arange(len(users)), one.mask_BK.argmax(axis=1)]
        self._positives = positive_items(run.prepared, users.user_B, users.end_B)
        self._owner_T = target_rows(users.target_offset)
        self._is_absent_I = ~self._item_ID.any(axis=1)
        self.tower_hit_rate = self._hits(None, [0.0])[0] / max(len(users.target), 1)

    def judge(self, model: HistoryModel, recency: float) -> float:
        """Return the hit rate with a linear model beside the tower, at the best weight of its sums."""
        return max(self.hit_rates(model, recency, _JUDGED_WEIGHTS).values())

    def hit_rates(self, model: HistoryModel, recency: float, relative: tuple[float, ...]) -> dict[float, float]:
        """Return the hit rate by the weight of the sums, which is relative to the ratio of the spreads."""
        history = history_matrix(self._positives, len(self._item_ID) - 1, recency, MAX_HISTORY)
        ratio = self._spread_ratio(history, model)
        weights = [one * ratio for one in relative]
        hits = self._hits((history, model), weights)
        return {weight: one / max(len(self._users.target), 1) for weight, one in zip(weights, hits, strict=True)}

    def _spread_ratio(self, history: csr_array, model: HistoryModel) -> float:
        """Return the spread of the tower's scores over all items relative to that of the sums; medians over users."""
        spreads = []
        for _, tower_BI, sum_BI in self._scores((history, model)):
            assert sum_BI is not None
            spreads.append(np.stack([tower_BI[:, 1:].std(axis=1), sum_BI[:, 1:].std(axis=1)]))
        tower_B, sum_B = np.concatenate(spreads, axis=1)
        has_both_B = (tower_B > 0) & (sum_B > 0)
        return float(np.median(tower_B[has_both_B]) / np.median(sum_B[has_both_B])) if has_both_B.any() else 0.0

    def _hits(self, sums: tuple[csr_array, HistoryModel] | None, weights: list[float]) -> list[int]:
        """Return how many targets are among the best unseen items with each weight; who ties with the next is none."""
        hits = [0] * len(weights)
        for users, tower_BI, sum_BI in self._scores(sums):
            targets = slice(*np.searchsorted(self._owner_T, [users.start, users.stop]).tolist())
            row_T, target_T = self._owner_T[targets] - users.start, self._users.target[targets]
            for number, weight in enumerate(weights):
                score_BI = tower_BI.copy() if sum_BI is None else tower_BI + np.float32(weight) * sum_BI
                for row, seen in zip(score_BI, self._seen[users], strict=True):
                    row[seen] = -np.inf
                score_BI[:, self._is_absent_I] = -np.inf
                hits[number] += hits_of_scores(score_BI, row_T, target_T, self._n)
        return hits

    def _scores(
        self, sums: tuple[csr_array, HistoryModel] | None
    ) -> Iterator[tuple[slice, NDArray[np.float32], NDArray[np.float32] | None]]:
        """Yield some users, the tower's scores of all items (B, I + 1), and the sums of their neighbours."""
        step = max(1, min(256, _SCORES_PER_CHUNK // len(self._item_ID)))
        for start in range(0, len(self._users), step):
            users = slice(start, min(start + step, len(self._users)))
            with threadpool_limits(1):  # sums of several threads would depend on their number
                tower_BI = self._vector_BD[users] @ self._item_ID.T
            yield users, tower_BI, None if sums is None else sums[1].scores(sums[0][users])
