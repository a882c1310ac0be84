"""Do interests find more if the weight of each depends on the item, and does a prior for popular items help?

::

    python -m benchmarks.item_gate RUN...

A trained run answers its validation users for first-time targets. The score of an item is log Σ_k g_k(user, item)
p_k(item) over the vector of the whole history and the interests, as in a mixture of logits (RAILS, arXiv 2407.15462).
The gate g is a softmax over the vectors, linear in

* what is known of the vector: whether it is that of the whole history, and the ``features`` of ``interest_gate``;
* the item under that vector: its score in standard deviations, the same times the item's popularity, and that
  popularity for the whole history alone.

It is fitted to the targets of one half of the users against drawn items, and measured on the other half, both ways
round. ``no item`` is the same gate without the item, and in ``shuffled``, a control, what a gate knows of an interest
belongs to another one of its user. ``popularity`` ranks by the whole history and a multiple of the log of an item's
users, which one half of the users chooses by its hits for the other half.

Printed: HR@100, and the difference to the whole history with its interval (95 %, bootstrap over users).
"""

import sys
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.interest_gate import features, print_figures
from multitudes.batches.held_out import held_out_users
from multitudes.batches.histories import event_times
from multitudes.linear.popularity import user_counts
from multitudes.seeding import generator, stream_seed
from multitudes.training.runs import open_run
from multitudes.training.trained_run import TrainedRun
from multitudes.training.validation import ItemScores, first_time_pairs

BUDGET, TOPICS, DRAWN = 100, 5, 50
PRIORS = (0.0, 0.05, 0.1, 0.2, 0.4)  # of the log of an item's users, in spreads of the scores
_ITEM_FEATURES = 3
_USERS_PER_CHUNK = 64
_STEPS, _PENALTY = 50, 1e-5
_STARTS = (-3.0, 0.0, 3.0)  # of the coefficient of the item under a vector
_NO_WEIGHT = -1e9


class World(NamedTuple):
    """The validation users of a run. Legend: B users · K vectors · I items · M targets · F features."""

    log_p_BKI: Tensor
    seen_BI: Tensor
    standard_BKI: Tensor  # scores in standard deviations over all items
    known_BKF: Tensor
    mask_BK: Tensor
    whole_K: Tensor  # 1 for the vector of the whole history
    popularity_I: Tensor  # log of users, standardised
    user_M: Tensor
    item_M: Tensor

    def draw_unseen(self, user_M: Tensor) -> Tensor:
        """Return items for each user that are neither seen nor targets (M, DRAWN)."""
        allowed_BI = ~self.seen_BI
        allowed_BI[self.user_M, self.item_M] = False
        random = torch.Generator().manual_seed(stream_seed(0, "gate", "items"))
        return torch.multinomial(allowed_BI.float()[user_M], DRAWN, replacement=True, generator=random)


class Pairs(NamedTuple):
    """Some items of some users. Legend: U users · J items of each · K vectors."""

    log_p_UJK: Tensor
    standard_UJK: Tensor
    popularity_UJ1: Tensor
    known_UKF: Tensor
    mask_UK: Tensor

    @classmethod
    def of(cls, world: World, user_U: Tensor, item_UJ: Tensor) -> "Pairs":
        """Gather the scores of the pairs."""
        log_p, standard = (table[user_U[:, None], :, item_UJ] for table in (world.log_p_BKI, world.standard_BKI))
        popularity = world.popularity_I[item_UJ].unsqueeze(2)
        return cls(log_p, standard, popularity, world.known_BKF[user_U], world.mask_BK[user_U])

    def double(self) -> "Pairs":
        """Return the pairs in the precision that a line search needs."""
        return Pairs(*(table if table.dtype == torch.bool else table.double() for table in self))


class Gate(NamedTuple):
    """Coefficients of what is known of a vector, and of the item under it."""

    known_F: Tensor
    item_3: Tensor

    def scores(self, pairs: Pairs, whole_K: Tensor) -> Tensor:
        """Return the scores of pairs (U, J)."""
        popular = pairs.popularity_UJ1
        logit = (pairs.known_UKF @ self.known_F).unsqueeze(1)
        logit = logit + self.item_3[0] * pairs.standard_UJK + self.item_3[1] * pairs.standard_UJK * popular
        logit = logit + self.item_3[2] * whole_K * popular
        logit = logit.masked_fill(~pairs.mask_UK.unsqueeze(1), _NO_WEIGHT)
        return (logit.log_softmax(dim=2) + pairs.log_p_UJK).logsumexp(dim=2)


def world_of(run: TrainedRun, *, shuffled: bool = False) -> World:
    """Score all items for the validation users of a run; ``shuffled`` is the control of the features."""
    held = held_out_users(run.prepared, "validation")
    scores, rows = ItemScores(run, held, np.arange(len(held)), TOPICS), np.arange(len(held))
    kinds = np.array(scores.users.kinds)
    own = kinds != "explicit"
    score_BKI = torch.zeros(len(held), int(own.sum()), run.prepared.n_items + 1)
    seen_BI = torch.zeros(len(held), run.prepared.n_items + 1, dtype=torch.bool)
    for users, items, score_BKi, seen in scores:
        score_BKI[users, :, items] = score_BKi[:, torch.from_numpy(own)]
        seen_BI[seen[0] + users.start, seen[1] + items.start] = True
    seen_BI[:, 0] = True
    real = score_BKI[:, :, 1:]
    mean, spread = real.mean(dim=2, keepdim=True), real.std(dim=2, keepdim=True).clamp(min=1e-6)
    mask_BK = torch.from_numpy(scores.users.mask_BK[:, own])
    interests = scores.users._replace(mask_BK=scores.users.mask_BK & (kinds == "implicit"))
    whole_K = torch.from_numpy((kinds[own] == "unconditioned").astype(np.float32))
    time_BL = event_times(run.prepared.event_time, held.end_B, run.config.model.history)
    known_BKF = features(interests, time_BL, shuffled=shuffled)[:, own].float() * (1 - whole_K)[:, None]
    popularity_I = torch.from_numpy(np.log1p(user_counts(run.prepared))).float()
    return World(
        log_p_BKI=score_BKI - real.logsumexp(dim=2, keepdim=True),
        seen_BI=seen_BI,
        standard_BKI=(score_BKI - mean) / spread,
        known_BKF=torch.cat([whole_K[:, None].expand(*known_BKF.shape[:2], 1), known_BKF], dim=2),
        mask_BK=mask_BK,
        whole_K=whole_K,
        popularity_I=(popularity_I - popularity_I[1:].mean()) / popularity_I[1:].std(),
        user_M=(targets := first_time_pairs(held, rows)).user_M,
        item_M=targets.item_M,
    )


def fit(world: World, chosen_M: Tensor, *, with_item: bool) -> Gate:
    """Return the gate that gives some targets the highest likelihood against drawn items.

    Args:
        world: the users.
        chosen_M: True for the targets to fit.
        with_item: whether the gate knows the item.
    """
    user_M, item_M = world.user_M[chosen_M], world.item_M[chosen_M]
    pairs = Pairs.of(world, user_M, torch.cat([item_M[:, None], world.draw_unseen(user_M)], dim=1)).double()
    fitted = [
        _fit_from(start, pairs, world.whole_K.double(), with_item) for start in (_STARTS if with_item else (0.0,))
    ]
    return max(fitted, key=lambda one: one[0])[1]


def _fit_from(start: float, pairs: Pairs, whole_K: Tensor, with_item: bool) -> tuple[float, Gate]:
    """Return the likelihood of the best gate near a start: the likelihood has several optima."""
    start_F = torch.zeros(pairs.known_UKF.shape[2], dtype=torch.float64)
    start_F[:2] = torch.tensor([3.0, 1.0])  # mostly the whole history, and the importance as it is
    # A free scale of all scores moves no list. Without it the gate would flatten them, which only a likelihood rewards.
    scale = torch.ones(1, dtype=torch.float64).requires_grad_()
    known_F = start_F.clone().requires_grad_()
    item_3 = torch.tensor([start, 0.0, 0.0], dtype=torch.float64).requires_grad_()
    optimiser = torch.optim.LBFGS(
        [scale, known_F, item_3] if with_item else [scale, known_F],
        max_iter=_STEPS,
        tolerance_change=1e-12,
        line_search_fn="strong_wolfe",
    )
    value = torch.zeros(())

    def loss() -> float:
        nonlocal value
        optimiser.zero_grad()
        score_MJ = scale * Gate(known_F, item_3).scores(pairs, whole_K)
        penalty = _PENALTY * (((known_F - start_F) ** 2).sum() + (item_3**2).sum())
        value = score_MJ.log_softmax(dim=1)[:, 0].mean() - penalty
        (-value).backward()  # type: ignore[no-untyped-call]
        return -float(value.detach())

    optimiser.step(loss)  # type: ignore[no-untyped-call]
    loss()  # of what the search ended with, which need not be what it tried last
    return float(value.detach()), Gate(known_F.detach().float(), item_3.detach().float())


def hits(world: World, gate: Gate | float) -> NDArray[np.float64]:
    """Return the hits of each user (B,) among the best unseen items, by a gate or by the whole history with a prior."""
    users, items = world.seen_BI.shape
    hit_M = torch.zeros(len(world.user_M), dtype=torch.bool)
    for start in range(0, users, _USERS_PER_CHUNK):
        user_U = torch.arange(start, min(start + _USERS_PER_CHUNK, users))
        if isinstance(gate, Gate):
            every = Pairs.of(world, user_U, torch.arange(items).expand(len(user_U), items))
            score_UI = gate.scores(every, world.whole_K)
        else:
            score_UI = world.standard_BKI[user_U, int(world.whole_K.argmax())] + gate * world.popularity_I
        best_UN = score_UI.masked_fill(world.seen_BI[user_U], -torch.inf).topk(BUDGET, dim=1).indices
        own = (world.user_M >= start) & (world.user_M < start + _USERS_PER_CHUNK)
        hit_M[own] = (best_UN[world.user_M[own] - start] == world.item_M[own, None]).any(dim=1)
    return np.bincount(world.user_M.numpy(), weights=hit_M.numpy(), minlength=users).astype(np.float64)


def measure(run: TrainedRun) -> dict[str, NDArray[np.float64]]:
    """Return the hits of each user (B,) by each way, and the number of targets."""
    world = world_of(run)
    users = len(world.seen_BI)
    half_B = generator(0, "gate", "halves").random(users) < 0.5
    prior_hits = np.stack([hits(world, prior) for prior in PRIORS])
    figures = {"whole history": prior_hits[0], "popularity": np.zeros(users)}
    for fitted_B in (half_B, ~half_B):
        figures["popularity"][~fitted_B] = prior_hits[prior_hits[:, fitted_B].sum(axis=1).argmax(), ~fitted_B]
    mixed = world._replace(known_BKF=world_of(run, shuffled=True).known_BKF)
    for way, known, with_item in (("no item", world, False), ("item", world, True), ("shuffled", mixed, True)):
        figures[way] = np.zeros(users)
        for fitted_B in (half_B, ~half_B):
            gate = fit(known, torch.from_numpy(fitted_B)[world.user_M], with_item=with_item)
            figures[way][~fitted_B] = hits(known, gate)[~fitted_B]
    return figures | {"targets": np.bincount(world.user_M.numpy(), minlength=users).astype(float)}


def main() -> None:
    """Print the hit rates and differences of each run."""
    if len(sys.argv) < 2:
        sys.exit(str(__doc__))
    for path in sys.argv[1:]:
        run = open_run(path)
        assert isinstance(run, TrainedRun), "a run of a tower"
        print_figures(path, measure(run), dict.fromkeys(("popularity", "no item", "item", "shuffled"), "whole history"))


if __name__ == "__main__":
    main()
