"""Does a learned gate find the interest of the next item better than its importance does?

::

    python -m benchmarks.interest_gate RUN...

A trained run answers its validation users for first-time targets by a mixture: of the vector of the whole history, of
the interests, and of both. The weights of the interests are set

* by their ``importance``, as they are served,
* ``evenly``,
* by a ``gate``: a softmax over the interests of a user, linear in the log of the importance, alone and times the
  entropy of the user's importances, in how many events an interest has among the newest 5 and 50, in how many events
  ago its newest one was, and in how many days before the user's newest event; fitted to the likelihood of the targets
  of one half of the users and measured on the other, both ways round. ``shuffled`` is the control: what is known of an
  interest belongs to another one of its user;
* by the importance and the item: log Σ exp of the terms times 2 (``sharper``) or ½ (``flatter``), so that a vector
  counts more where its own score is high. That is the idea of RAILS (arXiv 2407.15462) with one number: 1 is the
  mixture, a large one the best vector of each item.

Printed: HR@100, and the difference to the whole history, or between interests to ``importance``, with its interval
(95 %, bootstrap over users).
"""

import sys
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from multitudes.batches.held_out import HeldOut, held_out_users
from multitudes.batches.histories import event_times
from multitudes.batches.user_vectors import UserVectors
from multitudes.metrics.bootstrap import bootstrap_ratios
from multitudes.seeding import generator
from multitudes.training.runs import open_run
from multitudes.training.trained_run import TrainedRun
from multitudes.training.validation import ItemScores, ScoreChunk, first_time_pairs, score_targets

BUDGET, TOPICS, RESAMPLES = 100, 5, 2_000
_NEWEST = 5
_DAY_S = 86_400
_PENALTY = 1e-3  # on the squared changes of coefficients, beside the mean log likelihood
_NO_WEIGHT = -1e9
_STEPS = 200


class Scored(NamedTuple):
    """The scores of all items for some users, and the probabilities of their targets."""

    chunks: list[ScoreChunk]
    log_sum_BK: Tensor
    user_M: Tensor  # row of the user of each target
    item_M: Tensor
    log_p_MK: Tensor

    @classmethod
    def of(cls, scores: ItemScores, held: HeldOut) -> "Scored":
        """Score all items."""
        chunks, targets = list(scores), first_time_pairs(held, np.arange(len(held)))
        score_MK, log_sum_BK = score_targets(chunks, targets, scores.users.mask_BK.shape)
        return cls(chunks, log_sum_BK, *targets, score_MK - log_sum_BK[targets.user_M])

    def hits(self, log_weight_BK: Tensor, sharpness: float = 1.0) -> NDArray[np.float64]:
        """Return the hits of each user (B,) among the best unseen items."""
        users = len(self.log_sum_BK)
        value_BN, item_BN = torch.full((users, BUDGET), -torch.inf), torch.zeros((users, BUDGET), dtype=torch.int64)
        for some, items, score_BKi, seen in self.chunks:
            value_Bi = (sharpness * (score_BKi + (log_weight_BK - self.log_sum_BK)[some, :, None])).logsumexp(dim=1)
            value_Bi[seen] = -torch.inf
            top = value_Bi.topk(min(BUDGET, value_Bi.shape[1]), dim=1)
            value = torch.cat([value_BN[some], top.values], dim=1)
            item = torch.cat([item_BN[some], top.indices + items.start], dim=1)
            value_BN[some], place = value.topk(BUDGET, dim=1)
            item_BN[some] = item.gather(1, place)
        hit_M = (item_BN[self.user_M] == self.item_M[:, None]).any(dim=1)
        return np.bincount(self.user_M.numpy(), weights=hit_M.numpy(), minlength=users).astype(np.float64)


def features(users: UserVectors, time_BL: NDArray[np.int64], *, shuffled: bool) -> Tensor:
    """Return what is known of each interest (B, K, F), the log of its importance first.

    Args:
        users: with their interests alone.
        time_BL: when the events of the histories were, in seconds, the newest first.
        shuffled: return what is known of another interest of the same user.
    """
    events_BKL = users.assignment_BL[:, None, :] == np.arange(len(users.kinds))[None, :, None]
    length = events_BKL.shape[2]
    newest_BK = np.where(events_BKL, np.arange(length), length).min(axis=2)
    importance_BK = np.maximum(users.weight_BK * users.mask_BK, 1e-6)
    share_BK = importance_BK / importance_BK.sum(axis=1, keepdims=True)
    entropy_B1 = -(share_BK * np.log(share_BK)).sum(axis=1, keepdims=True)
    age_BK = time_BL[:, :1] - np.take_along_axis(time_BL, np.minimum(newest_BK, length - 1), axis=1)
    own = [
        np.log(importance_BK),
        np.log(importance_BK) * entropy_B1,
        np.log1p(events_BKL.sum(axis=2)),
        np.log1p(events_BKL[:, :, :_NEWEST].sum(axis=2)),
        1 / (1 + newest_BK),
        np.log1p(np.maximum(age_BK, 0) / _DAY_S),
    ]
    own_BKF = np.stack(own, axis=2).astype(np.float64)
    if shuffled:
        rng = generator(0, "gate", "shuffled")
        for b, mask_K in enumerate(users.mask_BK):
            place = np.flatnonzero(mask_K)
            own_BKF[b, place] = own_BKF[b, rng.permutation(place)]
    return torch.from_numpy(own_BKF)


def gate(feature_BKF: Tensor, mask_BK: Tensor, coefficient_F: Tensor) -> Tensor:
    """Return the log weights of the interests of each user (B, K)."""
    return (feature_BKF @ coefficient_F).masked_fill(~mask_BK, _NO_WEIGHT).log_softmax(dim=1)


def fit(scored: Scored, feature_BKF: Tensor, mask_BK: Tensor, chosen_M: Tensor) -> Tensor:
    """Return the coefficients of the gate (F,) that give some targets the highest likelihood."""
    start_F = torch.zeros(feature_BKF.shape[2], dtype=torch.float64)
    start_F[0] = 1  # the importance as it is
    coefficient_F = start_F.clone().requires_grad_()
    user_M, log_p_MK = scored.user_M[chosen_M], scored.log_p_MK[chosen_M].double()
    optimiser = torch.optim.LBFGS([coefficient_F], max_iter=_STEPS, line_search_fn="strong_wolfe")

    def loss() -> float:
        optimiser.zero_grad()
        log_weight_BK = gate(feature_BKF, mask_BK, coefficient_F)
        change = ((coefficient_F - start_F) ** 2).sum()
        value = _PENALTY * change - (log_p_MK + log_weight_BK[user_M]).logsumexp(dim=1).mean()
        value.backward()  # type: ignore[no-untyped-call]
        return float(value.detach())

    optimiser.step(loss)  # type: ignore[no-untyped-call]
    return coefficient_F.detach()


def measure(run: TrainedRun) -> dict[str, NDArray[np.float64]]:
    """Return the hits of each user (B,) by each way of weighing, and the number of targets."""
    held = held_out_users(run.prepared, "validation")
    scores = ItemScores(run, held, np.arange(len(held)), TOPICS)
    scored, kinds = Scored.of(scores, held), np.array(scores.users.kinds)
    mask_BK = torch.from_numpy(scores.users.mask_BK & (kinds == "implicit"))
    interests = scores.users._replace(mask_BK=mask_BK.numpy())
    time_BL = event_times(run.prepared.event_time, held.end_B, run.config.model.history)
    known, mixed = (features(interests, time_BL, shuffled=shuffled) for shuffled in (False, True))
    importance_BK = gate(known[:, :, :1], mask_BK, torch.ones(1, dtype=torch.float64))
    whole_BK = torch.from_numpy(np.where(kinds == "unconditioned", 0.0, _NO_WEIGHT)).expand(mask_BK.shape)
    half_B = generator(0, "gate", "halves").random(len(held)) < 0.5

    def by_gate(feature_BKF: Tensor) -> NDArray[np.float64]:
        hits_B = np.zeros(len(held))
        for fitted_B in (half_B, ~half_B):
            chosen_M = torch.from_numpy(fitted_B)[scored.user_M]
            log_weight_BK = gate(feature_BKF, mask_BK, fit(scored, feature_BKF, mask_BK, chosen_M))
            hits_B[~fitted_B] = scored.hits(log_weight_BK)[~fitted_B]
        return hits_B

    return {
        "whole history": scored.hits(whole_BK),
        "half interests": scored.hits(torch.logaddexp(whole_BK, importance_BK) - np.log(2)),
        "importance": scored.hits(importance_BK),
        "evenly": scored.hits(gate(known, mask_BK, torch.zeros(known.shape[2], dtype=torch.float64))),
        "gate": by_gate(known),
        "shuffled": by_gate(mixed),
        "sharper": scored.hits(importance_BK, 2.0),
        "flatter": scored.hits(importance_BK, 0.5),
        "targets": np.bincount(scored.user_M.numpy(), minlength=len(held)).astype(float),
    }


def print_figures(path: str, figures: Mapping[str, NDArray[np.float64]], bases: Mapping[str, str]) -> None:
    """Print the hit rate of each way, and its difference to its base with the interval over users.

    Args:
        path: of the run.
        figures: hits of each user by way, and the number of ``targets``.
        bases: the way that each way is compared with.
    """
    targets_B, ways = figures["targets"], [way for way in figures if way != "targets"]
    hits_BM = np.stack([figures[way] for way in ways], axis=1)
    targets_BM = np.repeat(targets_B[:, None], len(ways), axis=1)
    rates = bootstrap_ratios(hits_BM, targets_BM, RESAMPLES, generator(0, "gate", "bootstrap"))
    print(f"{path}: {len(targets_B):,} users, {int(targets_B.sum()):,} targets")
    for m, way in enumerate(ways):
        change = rates.difference(m, ways.index(base := bases.get(way, way)))
        interval = f"{change.mean:+.4f} [{change.low:+.4f}, {change.high:+.4f}]"
        print(f"  {way:<14} {rates.value_M[m]:.4f}  {interval} against {base}", flush=True)


def main() -> None:
    """Print the hit rates and differences of each run."""
    if len(sys.argv) < 2:
        sys.exit(str(__doc__))
    bases = dict.fromkeys(("half interests", "importance"), "whole history")
    bases |= dict.fromkeys(("evenly", "gate", "shuffled", "sharper", "flatter"), "importance")
    for path in sys.argv[1:]:
        run = open_run(path)
        assert isinstance(run, TrainedRun), "a run of a tower"
        print_figures(path, measure(run), bases)


if __name__ == "__main__":
    main()
