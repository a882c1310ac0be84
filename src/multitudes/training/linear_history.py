"""The linear history of a trained run: EASE beside the tower, weighted by what both together find on validation.

    score of item j with vector k = s (v_k · x_j + w Σ_i (1 + r_i)^(−recency) P_i · Q_j)

P and Q are solved in closed form after the last epoch (``linear.ease``), the sum is over the user's whole history, and
the tower is not trained again. Chosen in this order on the validation users of the epochs:

* w and the recency by the hit rate of the unconditioned vector, from a grid that is relative to the spread of both
  scores;
* the scale s, which flattens the softmax of each vector, by the likelihood of the targets under the mixture;
* the shares, by the hit rate of the mixture: the fitted ones, with more for the unconditioned vector or less for the
  explicit ones.

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
import torch
from numpy.typing import NDArray
from torch import Tensor

from multitudes.batches.held_out import HeldOut
from multitudes.batches.user_vectors import INTEREST_KINDS, InterestKind, without_masked_columns
from multitudes.data.own_items import positive_items
from multitudes.linear.fit import RECENCIES, fit
from multitudes.linear.history import HistorySums, HistoryWeights, LinearHistory
from multitudes.progress import Progress, silent
from multitudes.training.trained_run import TrainedRun
from multitudes.training.validation import ItemScores, ScoredTargets, fit_shares

RELATIVE_WEIGHTS: Final = (0.125, 0.25, 0.5, 1.0, 2.0)  # spread of the linear scores over that of the tower's
SCALES: Final = (1.0, 0.5, 0.25, 0.1)
UNCONDITIONED_PARTS: Final = (0.0, 0.5, 0.8, 1.0)  # of the fitted shares, moved to the unconditioned vector
EXPLICIT_PARTS: Final = (1.0, 0.25, 0.0)  # of the fitted explicit share that are kept
_TOPICS: Final = 5  # topics that condition explicit vectors, as in validation


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
    config, settings = run.config, run.config.model.linear
    if config.train.final and config.linear_weights is None:
        return {"linear": None}  # nobody is left to choose its weights
    found = fit(
        run.prepared,
        settings.rank,
        settings.regularisation,
        settings.recency,
        include_validation=config.train.final,
        progress=progress,
    )
    linear = LinearHistory(found.factors, config.linear_weights or _equal_weights(1.0, 1.0, 0.0))
    chosen: dict[str, Any] = {}
    if config.linear_weights is None:
        joined = TrainedRun(run.path, run.prepared, config, run.model, linear)
        recencies = RECENCIES if settings.recency is None else (settings.recency,)
        best = choose_weights(joined, held, config.train.eval_k, recencies) if len(held) else None
        if best is None or best.hit_rate <= result["validation_hit_rate"]:
            return {"linear": None}
        linear.weights = best.weights
        chosen = {"validation_hit_rate": best.hit_rate, "shares": best.shares}
    run.linear = linear
    linear.save(run.path)
    record = {"regularisation": found.chosen.regularisation, "tower_hit_rate": result["validation_hit_rate"]}
    return {**chosen, "linear": record | linear.weights.model_dump(mode="json")}


class ChosenWeights(NamedTuple):
    """Weights of a linear history, and what the run finds with them on validation."""

    weights: HistoryWeights
    shares: dict[InterestKind, float]
    hit_rate: float


def choose_weights(
    run: TrainedRun, held: HeldOut, n: int, recencies: Sequence[float] = RECENCIES
) -> ChosenWeights | None:
    """Choose scale, weight, recency and shares on validation users.

    Args:
        run: the trained run with its linear history; scale and weights of 1.
        held: the users.
        n: places of the list that the hit rate looks at.
        recencies: to choose from.

    Returns:
        The choice; None if no user has both a vector and a sum, or none of them a first-time target.
    """
    rows = np.arange(len(held))
    scores = _WeightedScores(run, held, rows)
    if not scores.ratio:
        return None
    n = min(n, run.prepared.n_items + 1)
    only: InterestKind | None = "unconditioned" if run.model.user.has_unconditioned else None

    rate_alone: dict[tuple[float, float], float] = {}
    for tried in recencies:
        scores.set_recency(tried)
        for relative in RELATIVE_WEIGHTS:
            scored = ScoredTargets(scores.weigh(1.0, relative * scores.ratio, only), held, rows)
            rate_alone[tried, relative] = scored.hit_rate(fit_shares(scored.log_p_MG), n)
    recency, relative = max(rate_alone, key=rate_alone.__getitem__)
    scores.set_recency(recency)
    weight = relative * scores.ratio
    best_loss, best = -torch.inf, None
    for scale in SCALES:
        scored = ScoredTargets(scores.weigh(scale, weight, None), held, rows)
        shares_G = fit_shares(scored.log_p_MG)
        log_likelihood = mean_log_likelihood(scored.log_p_MG, shares_G)
        if best is None or log_likelihood > best_loss:
            best_loss, best = log_likelihood, (scale, scored, shares_G)
        if only is not None and len(run.kinds(_TOPICS)) == 1:
            break  # a single vector: its order does not depend on the scale
    assert best is not None, "there is a scale"
    scale, scored, fitted_G = best
    candidates = _candidate_shares(fitted_G) if only or not fitted_G.sum() else [fitted_G]
    if not candidates:
        return None
    rates = [scored.hit_rate(shares_G, n) for shares_G in candidates]
    place = int(np.argmax(rates))
    shares = dict(zip(INTEREST_KINDS, candidates[place].tolist(), strict=True))
    return ChosenWeights(_equal_weights(scale, scale * weight, recency), shares, rates[place])


class _WeightedScores:
    """Scores of validation users with any scale, weight and recency; the vectors of the tower are computed once."""

    def __init__(self, run: TrainedRun, held: HeldOut, rows: NDArray[np.int64]) -> None:
        assert run.linear is not None
        self._scores, self._rank = ItemScores(run, held, rows, _TOPICS), run.linear.rank
        self._users = self._scores.users
        self._input_IR = run.linear.input_IR
        self._positives = positive_items(run.prepared, held.user_B, held.end_B)
        self._covariance_DD = np.cov(run.item_vectors()[1:].T)
        self.ratio = self._spread_ratio()

    def set_recency(self, recency: float) -> None:
        """Compute the sums over the histories, and their ``ratio``, anew."""
        sum_BR = HistorySums(self._input_IR, _equal_weights(1.0, 1.0, recency)).user_sums(self._positives)
        self._users.vectors_BKD[:, :, -self._rank :] = sum_BR[:, None]
        self.ratio = self._spread_ratio()

    def weigh(self, scale: float, weight: float, only: InterestKind | None) -> ItemScores:
        """Return the scores with vectors [scale v ; scale weight u], of one kind alone if ``only`` is given."""
        factor_D = np.full(self._users.vectors_BKD.shape[2], scale, dtype=np.float32)
        factor_D[-self._rank :] *= weight
        users = self._users._replace(vectors_BKD=self._users.vectors_BKD * factor_D)
        if only is not None:
            is_kept_K = np.array([kind == only for kind in users.kinds])
            users = without_masked_columns(users._replace(mask_BK=users.mask_BK & is_kept_K))
        self._scores.users = users
        return self._scores

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


def mean_log_likelihood(log_p_MG: Tensor, shares_G: Tensor) -> float:
    """Return the mean log probability of the targets under the mixture of the kinds.

    Args:
        log_p_MG: log probability of each target by kind; -inf marks a kind that its user does not have.
        shares_G: shares of the kinds; that of a missing kind goes to the others.
    """
    exists_MG = log_p_MG > -torch.inf
    available_M = (exists_MG * shares_G).sum(dim=1)
    known_M = available_M > 0
    if not known_M.any():
        return -float("inf")
    log_share_MG = (shares_G / available_M.clamp(min=1e-30).unsqueeze(1)).clamp(min=1e-30).log()
    return float((log_p_MG + log_share_MG)[known_M].logsumexp(dim=1).mean())


def _candidate_shares(fitted_G: Tensor) -> list[Tensor]:
    """Return the fitted shares, and variants with more for the unconditioned vector and less for explicit ones.

    Without targets nothing was fitted, and there is none.

    An explicit vector has only the items of its topic, so the likelihood overrates it: it is sure of few items.
    """
    unconditioned, explicit = INTEREST_KINDS.index("unconditioned"), INTEREST_KINDS.index("explicit")
    candidates: list[Tensor] = []
    for kept in EXPLICIT_PARTS:
        lowered_G = fitted_G.clone()
        lowered_G[explicit] *= kept
        if not lowered_G.sum():
            continue
        lowered_G /= lowered_G.sum()
        for part in UNCONDITIONED_PARTS:
            shares_G = (1 - part) * lowered_G
            shares_G[unconditioned] += part
            if not any(torch.equal(shares_G, other) for other in candidates):
                candidates.append(shares_G)
    return candidates


def _equal_weights(scale: float, weight: float, recency: float) -> HistoryWeights:
    """Return weights that are the same for every kind of vector."""
    return HistoryWeights(scale=scale, weight=dict.fromkeys(INTEREST_KINDS, weight), recency=recency)
