"""The linear history of a trained run: EASE beside the tower, weighted by what both together find on validation.

    score of item j with vector k = v_k · x_j + w n^growth Σ_i (1 + r_i)^(−recency) P_i · Q_j

P and Q are solved in closed form after the last epoch (``linear.ease``), the sum is over the n items of the user's
whole history, and the tower is not trained again. Chosen in this order on the validation users of the epochs:

* the settings of the fit, by the hit rate of the unconditioned vector with the best w: what finds most alone may be
  what the tower knows already;
* w and the growth, by the same; their grids are relative to the spread of both scores.

A likelihood would choose w too small: it is decided by rare targets, a list by its first places. If the tower alone
finds as much, the run has no linear history.

The paper has no such path (a deviation). Its vectors read the last events; on small corpora a sum over the whole
history finds what they miss, and an EASE that was fitted on the users that it is trained with would explain their
targets by heart (a hit rate of .91 against .37 on other users, MovieLens), so a tower beside it would learn nothing.

Legend: B users · K vectors of each · G kinds · D width of the tower's vectors · R rank.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from multitudes.batches.held_out import HeldOut
from multitudes.batches.user_vectors import INTEREST_KINDS, InterestKind, without_masked_columns
from multitudes.data.own_items import positive_items
from multitudes.linear.factors import LinearFactors
from multitudes.linear.fit import RECENCIES, fit
from multitudes.linear.history import FITTED_SETTINGS, HistorySums, HistoryWeights, LinearHistory
from multitudes.progress import Progress, silent
from multitudes.training.shares import fit_shares
from multitudes.training.trained_run import TrainedRun
from multitudes.training.validation import TOPICS, ItemScores, ScoredTargets

RELATIVE_WEIGHTS: Final = (0.125, 0.25, 0.5, 1.0, 2.0)  # spread of the linear scores over that of the tower's
_JUDGED_WEIGHTS: Final = RELATIVE_WEIGHTS[1:4]  # under which the settings of the fit are compared
GROWTHS: Final = (0.25, 0.5, 0.75)  # the sum says more of a long history, of which the tower reads the last events


def add_linear_history(
    run: TrainedRun, held: HeldOut, result: Mapping[str, Any], progress: Progress = silent
) -> dict[str, Any]:
    """Fit the linear history of a trained run and write it into the run's folder, unless the tower alone finds more.

    Args:
        run: the run with the weights of its best epoch; gets the linear history.
        held: the users on whom each epoch was validated; none where validation events are trained on.
        result: the outcome of training: ``validation_hit_rate`` of the tower alone.
        progress: called after each step.

    Returns:
        What changes in the run's record. ``linear`` describes the fit, or is None if the tower is as good alone.
    """
    config, settings, weights = run.config, run.config.model.linear, run.config.linear_weights
    if weights is None and (config.train.final or not len(held)):
        return {"linear": None}  # nobody is left to choose its weights
    tuned = _WeightedScores(run, held, config.train.eval_k) if weights is None else None
    found = fit(
        run.prepared,
        settings.rank,
        regularisation=settings.regularisation,
        normalisation=settings.normalisation,
        recency=settings.recency,
        trend=settings.trend,
        judge=None if tuned is None else tuned.judge,
        include_validation=config.train.final,
        progress=progress,
    )
    hit_rate = tower_hit_rate = result["validation_hit_rate"]
    if tuned is not None:
        tuned.set_factors(found.factors)
        best = _choose_weights(tuned, (found.chosen.recency,))
        if best is None or best.hit_rate <= (tower_hit_rate := tuned.tower_hit_rate()):
            return {"linear": None}
        weights, hit_rate = best
    assert weights is not None, "they were given, or chosen"
    run.linear = LinearHistory(found.factors, weights)
    run.linear.save(run.path)
    fitted = {name: getattr(found.chosen, name) for name in FITTED_SETTINGS}
    record = fitted | {"tower_hit_rate": tower_hit_rate}
    return {"validation_hit_rate": hit_rate, "linear": record | weights.model_dump(mode="json")}


class ChosenWeights(NamedTuple):
    """Weights of a linear history, and what the vector of one kind finds with them on validation."""

    weights: HistoryWeights
    hit_rate: float


def choose_weights(
    run: TrainedRun, held: HeldOut, n: int, recencies: Sequence[float] = RECENCIES
) -> ChosenWeights | None:
    """Choose the weights on validation users.

    Args:
        run: the trained run with its linear history, of any weights.
        held: the users.
        n: places of the list that the hit rate looks at.
        recencies: to choose from.

    Returns:
        The choice; None if no user has both a vector and a sum, or none of them a first-time target.
    """
    assert run.linear is not None, "the weights are those of a linear history"
    scores = _WeightedScores(run, held, n)
    scores.set_factors(LinearFactors(run.linear.input_IR, run.linear.output_IR))
    return _choose_weights(scores, recencies)


def _choose_weights(scores: "_WeightedScores", recencies: Sequence[float]) -> ChosenWeights | None:
    if not scores.ratio or not scores.has_targets:
        return None
    relative, hit_rate = _choose_sums(scores, recencies)
    weights = scores.weights.model_copy(update={"weight": _weights(relative * scores.ratio)})
    return ChosenWeights(weights, hit_rate)


def _choose_sums(scores: "_WeightedScores", recencies: Sequence[float]) -> tuple[float, float]:
    """Choose the recency and the growth by the vector of one kind, and set them.

    Args:
        scores: with any sums.
        recencies: to choose from.

    Returns:
        The weight of the sums: the spread of the linear scores, relative to that of the tower's. And the hit rate.
    """
    rates: dict[tuple[float, float, float], float] = {}
    for recency in recencies:
        scores.set_sums(recency=recency, growth=0.0)
        rates |= {(recency, 0.0, relative): scores.hit_rate(relative) for relative in RELATIVE_WEIGHTS}
    recency, _, relative = max(rates, key=rates.__getitem__)
    place = RELATIVE_WEIGHTS.index(relative)
    for growth in GROWTHS:
        scores.set_sums(recency=recency, growth=growth)
        near = RELATIVE_WEIGHTS[max(place - 1, 0) : place + 2]
        rates |= {(recency, growth, relative): scores.hit_rate(relative) for relative in near}
    best = max(rates, key=rates.__getitem__)
    scores.set_sums(recency=best[0], growth=best[1])
    return best[2], rates[best]


class _WeightedScores:
    """Scores of validation users with any factors, sums, weight and scale; the tower's vectors are computed once."""

    def __init__(self, run: TrainedRun, held: HeldOut, n: int) -> None:
        """Compute the vectors of the tower.

        Args:
            run: the run; a linear history that it has is not read.
            held: the users.
            n: places of the list that the hit rate looks at.
        """
        self.n = min(n, run.prepared.n_items + 1)
        self.only: InterestKind | None = "unconditioned" if run.model.user.has_unconditioned else None
        self._run = TrainedRun(run.path, run.prepared, run.config, run.model, None)
        self._held, self._rows = held, np.arange(len(held))
        self._scores = ItemScores(self._run, held, self._rows, TOPICS)
        self._tower, self._tower_items_ID = self._scores.users, self._run.item_vectors()
        self._positives = positive_items(run.prepared, held.user_B, held.end_B)
        self._factors: LinearFactors | None = None

    @property
    def has_targets(self) -> bool:
        """Whether a user has a first-time target."""
        return bool(self._held.target_is_first_time.any())

    def set_factors(self, factors: LinearFactors) -> None:
        """Join other factors, their sums as they are."""
        if factors is self._factors:
            return
        self._factors, self._rank = factors, factors.output_IR.shape[1]
        self._run.linear = LinearHistory(factors, _unit_weights())
        joined_ID = self._run.linear.join_items(self._tower_items_ID)
        self._covariance_DD = np.cov(joined_ID[1:].T)
        self._join_sums(_unit_weights())

    def set_sums(self, **changes: float) -> None:
        """Join sums with other settings of ``HistoryWeights``."""
        weights = self.weights.model_copy(update=changes)
        if weights != self.weights:
            self._join_sums(weights)

    def _join_sums(self, weights: HistoryWeights) -> None:
        """Compute the sums over the histories, and ``ratio``."""
        assert self._factors is not None, "sums are of factors"
        self.weights = weights
        sums = HistorySums(self._factors.input_IR, self.weights)
        self._users = sums.join_users(self._tower, self._positives)
        self.ratio = self._spread_ratio()

    def judge(self, factors: LinearFactors, recency: float) -> float:
        """Return the hit rate with some factors at the best weight of their sums."""
        self.set_factors(factors)
        self.set_sums(recency=recency, growth=0.0)
        return max(self.hit_rate(relative) for relative in _JUDGED_WEIGHTS) if self.ratio else 0.0

    def hit_rate(self, relative: float) -> float:
        """Return the hit rate of the vector of one kind with the sums at a weight, relative to ``ratio``."""
        factor_D = np.ones(self._users.vectors_BKD.shape[2], dtype=np.float32)
        factor_D[-self._rank :] = relative * self.ratio
        users = self._users._replace(vectors_BKD=self._users.vectors_BKD * factor_D)
        if self.only is not None:
            is_kept_K = np.array([kind == self.only for kind in users.kinds])
            users = without_masked_columns(users._replace(mask_BK=users.mask_BK & is_kept_K))
        self._scores.users = users
        scored = ScoredTargets(self._scores, self._held, self._rows)
        return scored.hit_rate(fit_shares(scored.log_p_MG), self.n)

    def tower_hit_rate(self) -> float:
        """Return the hit rate of the vector of one kind without the sums."""
        return self.hit_rate(0.0)

    def _spread_ratio(self) -> float:
        """Return the spread of the tower's scores over all items, relative to the linear ones; medians over users."""
        covariance_DD = self._covariance_DD
        first_B = self._users.mask_BK.argmax(axis=1)
        vector_BD = self._users.vectors_BKD[np.arange(len(first_B)), first_B]
        spreads = []
        for part in (slice(0, -self._rank), slice(-self._rank, None)):
            variance_B = np.einsum("bd,de,be->b", vector_BD[:, part], covariance_DD[part, part], vector_BD[:, part])
            spreads.append(np.sqrt(np.maximum(variance_B, 0)))
        has_both_B = self._users.mask_BK.any(axis=1) & (spreads[1] > 0) & (spreads[0] > 0)
        if not has_both_B.any():
            return 0.0
        return float(np.median(spreads[0][has_both_B]) / np.median(spreads[1][has_both_B]))


def _unit_weights() -> HistoryWeights:
    """Return weights under which the sums are joined as they are."""
    return HistoryWeights(weight=_weights(1.0))


def _weights(weight: float) -> dict[InterestKind, float]:
    """Return a weight that is the same for every kind of vector."""
    return dict.fromkeys(INTEREST_KINDS, weight)
