"""The linear history of a trained run: EASE beside the tower, weighted by what both together find on validation.

    score of item j with vector k = s (v_k · x_j + w n^growth Σ_i (1 + r_i)^(−recency) P_i · Q_j)

P and Q are solved in closed form after the last epoch (``linear.ease``), the sum is over the n items of the user's
whole history, and the tower is not trained again. Chosen in this order on the validation users of the epochs:

* the settings of the fit, by the hit rate of the unconditioned vector with the best w: what finds most alone may be
  what the tower knows already;
* w and the growth, by the same; their grids are relative to the spread of both scores;
* the scale s, which flattens the softmax of each vector, by the likelihood of the targets under the mixture;
* the shares, as those of the tower alone are chosen (``training.shares``), with sums of the interests over their own
  events, unless that finds less.

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
from multitudes.training.shares import ChosenShares, choose_shares, fit_shares, mean_log_likelihood
from multitudes.training.trained_run import TrainedRun
from multitudes.training.validation import TOPICS, ItemScores, ScoredTargets

RELATIVE_WEIGHTS: Final = (0.125, 0.25, 0.5, 1.0, 2.0)  # spread of the linear scores over that of the tower's
_JUDGED_WEIGHTS: Final = RELATIVE_WEIGHTS[1:4]  # under which the settings of the fit are compared
SCALES: Final = (1.0, 0.5, 0.25, 0.1)
GROWTHS: Final = (0.25, 0.5, 0.75)  # the sum says more of a long history, of which the tower reads the last events
OWN_PART: Final = 0.5  # of an interest's sum that is over its own events: its list is of that interest then
OWN_TOLERANCE: Final = 0.001  # of the hit rate, which these lists may cost: less than its noise on any data set


def add_linear_history(
    run: TrainedRun, held: HeldOut, result: Mapping[str, Any], progress: Progress = silent
) -> dict[str, Any]:
    """Fit the linear history of a trained run and write it into the run's folder, unless the tower alone finds more.

    Args:
        run: the run with the weights of its best epoch; gets the linear history.
        held: the users on whom each epoch was validated; none where validation events are trained on.
        result: the outcome of training: ``validation_hit_rate`` and ``shares`` of the tower alone.
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
    chosen: dict[str, Any] = {}
    if tuned is not None:
        tuned.set_factors(found.factors)
        best = _choose_weights(tuned, (found.chosen.recency,))
        if best is None or best.shares.hit_rate <= result["validation_hit_rate"]:
            return {"linear": None}
        weights = best.weights
        chosen = best.shares.record()
    assert weights is not None, "they were given, or chosen"
    run.linear = LinearHistory(found.factors, weights)
    run.linear.save(run.path)
    fitted = {name: getattr(found.chosen, name) for name in FITTED_SETTINGS}
    record = fitted | {"tower_hit_rate": result["validation_hit_rate"]}
    return {**chosen, "linear": record | weights.model_dump(mode="json")}


class ChosenWeights(NamedTuple):
    """Weights of a linear history, and what the run finds with them on validation."""

    weights: HistoryWeights
    shares: ChosenShares


def choose_weights(
    run: TrainedRun, held: HeldOut, n: int, recencies: Sequence[float] = RECENCIES
) -> ChosenWeights | None:
    """Choose the weights and the shares on validation users.

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
    if not scores.ratio:
        return None
    relative = _choose_sums(scores, recencies)
    weight = relative * scores.ratio
    scale, scored = _choose_scale(scores, weight)
    best = choose_shares(scored, scores.n)
    if best is None:
        return None
    own = 0.0
    if scores.has_interests:
        scores.set_sums(own=OWN_PART)
        with_own = choose_shares(scores.targets(scale, weight), scores.n)
        if with_own is not None and with_own.hit_rate >= best.hit_rate - OWN_TOLERANCE:
            best, own = with_own, OWN_PART
    chosen = scores.weights.model_copy(update={"own": own, "scale": scale, "weight": _weights(scale * weight)})
    return ChosenWeights(chosen, best)


def _choose_sums(scores: "_WeightedScores", recencies: Sequence[float]) -> float:
    """Choose the recency and the growth by the vector of one kind, set them, and return the weight of the sums.

    Args:
        scores: with any sums.
        recencies: to choose from.

    Returns:
        The spread of the linear scores, relative to that of the tower's.
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
    recency, growth, relative = max(rates, key=rates.__getitem__)
    scores.set_sums(recency=recency, growth=growth)
    return relative


def _choose_scale(scores: "_WeightedScores", weight: float) -> tuple[float, ScoredTargets]:
    """Return the scale with the greatest likelihood of the targets under the mixture, and the targets under it."""
    if scores.only is not None and scores.is_single:
        return SCALES[0], scores.targets(SCALES[0], weight)  # the order of a single vector does not depend on it
    best: tuple[float, float, ScoredTargets] | None = None
    for scale in SCALES:
        scored = scores.targets(scale, weight)
        likelihood = mean_log_likelihood(scored.log_p_MG, fit_shares(scored.log_p_MG))
        if best is None or likelihood > best[0]:
            best = likelihood, scale, scored
    assert best is not None, "there are scales"
    return best[1:]


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
    def is_single(self) -> bool:
        """Whether each user has one vector at most."""
        return len(self._tower.kinds) == 1

    @property
    def has_interests(self) -> bool:
        """Whether events belong to interests."""
        return "implicit" in self._tower.kinds

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
        self._users = sums.join_users(self._tower, self._positives, self._scores.item_BL)
        self.ratio = self._spread_ratio()

    def judge(self, factors: LinearFactors, recency: float) -> float:
        """Return the hit rate with some factors at the best weight of their sums."""
        self.set_factors(factors)
        self.set_sums(recency=recency, growth=0.0, own=0.0)
        return max(self.hit_rate(relative) for relative in _JUDGED_WEIGHTS) if self.ratio else 0.0

    def hit_rate(self, relative: float) -> float:
        """Return the hit rate of the vector of one kind with the sums at a weight, relative to ``ratio``."""
        scored = self.targets(1.0, relative * self.ratio, self.only)
        return scored.hit_rate(fit_shares(scored.log_p_MG), self.n)

    def targets(self, scale: float, weight: float, only: InterestKind | None = None) -> ScoredTargets:
        """Return the targets with vectors [scale v ; scale weight u], of one kind alone if ``only`` is given."""
        factor_D = np.full(self._users.vectors_BKD.shape[2], scale, dtype=np.float32)
        factor_D[-self._rank :] *= weight
        users = self._users._replace(vectors_BKD=self._users.vectors_BKD * factor_D)
        if only is not None:
            is_kept_K = np.array([kind == only for kind in users.kinds])
            users = without_masked_columns(users._replace(mask_BK=users.mask_BK & is_kept_K))
        self._scores.users = users
        return ScoredTargets(self._scores, self._held, self._rows)

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
