"""The linear history of a trained run: EASE or ELSA beside the tower, weighted by what both find on validation.

    score of item j with vector k = v_k · x_j + w Σ_i (1 + r_i)^(−recency) P_i · Q_j

P and Q are fitted after the last epoch (``linear.fit``), the sum is over the items of the user's whole history, and the
tower is not trained again. The settings of the fit, the recency and w are those with the highest hit rate of the
unconditioned vector on the validation users of the epochs: what finds most alone may be what the tower knows already.
The grid of w is relative to the spread of both scores. A likelihood would choose w too small: it is decided by rare
targets, a list by its first places. If the tower alone finds as much, the run has no linear history.

The paper has no such path (a deviation). Its vectors read the last events; on small corpora a sum over the whole
history finds what they miss, and a model that was fitted on the users that it is trained with would explain their
targets by heart (a hit rate of .91 against .37 on other users, MovieLens), so a tower beside it would learn nothing.

Legend: B users · K vectors of each · D width of the tower's vectors · R rank.
"""

from collections.abc import Sequence
from operator import itemgetter
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from multitudes.batches.held_out import HeldOut, select_targets
from multitudes.batches.user_vectors import UserVectors
from multitudes.data.own_items import positive_items
from multitudes.linear.fit import fit
from multitudes.linear.history import HistoryWeights, LinearFactors, LinearFit, LinearHistory
from multitudes.linear.interactions import column_products
from multitudes.progress import Progress, silent
from multitudes.retrieval.catalogue import Catalogue
from multitudes.retrieval.config import RetrieveConfig
from multitudes.retrieval.scorer import catalogue, user_vectors
from multitudes.training.selection import hits_of_users
from multitudes.training.trained_run import TrainedRun

RELATIVE_WEIGHTS: Final = (0.125, 0.25, 0.5, 1.0, 2.0)  # spread of the linear scores over that of the tower's
_JUDGED_WEIGHTS: Final = RELATIVE_WEIGHTS[1:4]  # under which the settings of the fit are compared


class FittedHistory(NamedTuple):
    """A linear history, what is found with it on validation, and what the run's record says of it."""

    linear: LinearHistory
    hit_rate: float
    record: dict[str, Any]


def fit_linear_history(run: TrainedRun, held: HeldOut, progress: Progress = silent) -> FittedHistory | None:
    """Fit the linear history of a run with the weights of its best epoch, and without a linear history.

    None where the tower alone finds as much, or nobody can choose, as where validation events are trained on.
    """
    config, rank = run.config, run.config.model.linear.rank
    if (chosen := config.linear_fit) is not None:
        fitted = fit(run.prepared, rank, untried=chosen, include_validation=config.final, progress=progress)
        return _fitted(fitted.factors, chosen, 0.0, 0.0)
    if config.final or not held.target_is_first_time.any():
        return None
    lists = _JoinedLists(run, held, config.train.eval_k)
    fitted = fit(run.prepared, rank, lists.judge, progress=progress)
    weight, rate = lists.choose_weight(fitted.factors, fitted.chosen.recency)
    if rate <= (alone := lists.tower_hit_rate()):
        return None
    return _fitted(fitted.factors, fitted.chosen.model_copy(update={"weight": weight}), rate, alone)


def _fitted(factors: LinearFactors, chosen: LinearFit, hit_rate: float, tower_hit_rate: float) -> FittedHistory:
    weights = HistoryWeights(weight=chosen.weight, recency=chosen.recency)
    record = chosen.model_dump(mode="json") | {"tower_hit_rate": tower_hit_rate}
    return FittedHistory(LinearHistory(factors, weights), hit_rate, record)


class _JoinedLists:
    """Lists of validation users with any factors and weights; the tower's vectors are computed once."""

    def __init__(self, run: TrainedRun, held: HeldOut, n: int) -> None:
        """Compute the vectors of the tower alone: the unconditioned ones, if there are such."""
        self._run, self._n = TrainedRun(run.path, run.prepared, run.config, run.model), min(n, run.prepared.n_items)
        self._config = RetrieveConfig(blend=run.blend, calibration=0.0)
        self._users = select_targets(held, held.target_is_first_time)
        self._tower_ID = self._run.item_vectors()
        items = catalogue(self._run, self._tower_ID, tastes=False)
        tower = user_vectors(self._run, self._users, self._config, items)
        self._tower = tower.of_kind("unconditioned") if "unconditioned" in tower.kinds else tower
        self._positives = positive_items(run.prepared, self._users.user_B, self._users.end_B)

    def choose_weight(self, factors: LinearFactors, recency: float) -> tuple[float, float]:
        """Return the weight with which most is found, and the hit rate; zeros where no user has a vector and a sum."""
        rates = self._hit_rates(factors, recency, RELATIVE_WEIGHTS)
        return max(rates.items(), key=itemgetter(1), default=(0.0, 0.0))

    def judge(self, factors: LinearFactors, recency: float) -> float:
        """Return the hit rate with some factors at the best weight of their sums."""
        return max(self._hit_rates(factors, recency, _JUDGED_WEIGHTS).values(), default=0.0)

    def tower_hit_rate(self) -> float:
        """Return the hit rate without the sums."""
        return self._hit_rate(self._tower, catalogue(self._run, self._tower_ID, tastes=False))

    def _hit_rates(self, factors: LinearFactors, recency: float, relative: Sequence[float]) -> dict[float, float]:
        """Return the hit rate by the weight of the sums; nothing where no user has a vector and a sum.

        Weights are relative to the ratio of the spread of the tower's scores to that of the linear ones.
        """
        linear = LinearHistory(factors, HistoryWeights(recency=recency))
        item_ID, users = linear.join_items(self._tower_ID), linear.join_users(self._tower, self._positives)
        items, ratio = catalogue(self._run, item_ID, tastes=False), _spread_ratio(users, item_ID, linear.rank)
        factor_D, rates = np.ones(item_ID.shape[1], dtype=np.float32), {}
        for weight in [one * ratio for one in relative] if ratio else ():
            factor_D[-linear.rank :] = weight
            rates[weight] = self._hit_rate(users._replace(vectors_BKD=users.vectors_BKD * factor_D), items)
        return rates

    def _hit_rate(self, vectors: UserVectors, items: Catalogue) -> float:
        hits_B, _ = hits_of_users(vectors, items, self._users, self._n, self._run, self._config)
        return float(hits_B.sum()) / max(len(self._users.target), 1)


def _spread_ratio(users: UserVectors, item_ID: NDArray[np.float32], rank: int) -> float:
    """Return the spread of the tower's scores over all items, relative to the linear ones; medians over users."""
    mean_D = item_ID[1:].mean(axis=0, dtype=np.float64)
    covariance_DD = column_products(item_ID[1:]) / (len(item_ID) - 1) - np.outer(mean_D, mean_D)
    first_B = users.mask_BK.argmax(axis=1)
    vector_BD = users.vectors_BKD[np.arange(len(first_B)), first_B]
    spreads = []
    for part in (slice(0, -rank), slice(-rank, None)):
        variance_B = np.einsum("bd,de,be->b", vector_BD[:, part], covariance_DD[part, part], vector_BD[:, part])
        spreads.append(np.sqrt(np.maximum(variance_B, 0)))
    has_both_B = users.mask_BK.any(axis=1) & (spreads[1] > 0) & (spreads[0] > 0)
    if not has_both_B.any():
        return 0.0
    return float(np.median(spreads[0][has_both_B]) / np.median(spreads[1][has_both_B]))
