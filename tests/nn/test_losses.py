"""Losses and associations against slow definitions."""

import math

import torch

from multitudes.nn import losses
from multitudes.nn.losses import (
    accidental_hits,
    negative_logsumexp,
    pool_negative_logsumexp,
    sum_weighted,
)
from multitudes.nn.primitives import mask_with_lowest

B, T, K, N = 3, 4, 3, 10


def draws(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    mask_BK = torch.tensor([[True, True, True], [True, False, True], [False, True, False]])
    return torch.randn(B, T, K, generator=random), torch.randn(B, K, generator=random), mask_BK


def test_softmax_loss_is_the_negative_log_probability_of_the_positive() -> None:
    positive, negatives = torch.tensor(1.5), torch.tensor([0.2, -1.0, 2.0])
    expected = -math.log(math.exp(1.5) / (math.exp(1.5) + sum(math.exp(x) for x in negatives.tolist())))
    assert abs(losses.softmax_loss(positive, negatives.logsumexp(0)).item() - expected) < 1e-6


def test_hard_argmax_trains_the_nearest_existing_interest_whatever_its_score() -> None:
    positive_BTK, negative_BK, mask_BK = draws()
    loss_BT = losses.hard_argmax_loss(positive_BTK, negative_BK, mask_BK)
    for b in range(B):
        for t in range(T):
            j = max((k for k in range(K) if mask_BK[b, k]), key=lambda k: positive_BTK[b, t, k].item())
            torch.testing.assert_close(loss_BT[b, t], losses.softmax_loss(positive_BTK[b, t, j], negative_BK[b, j]))
    positive_BTK = torch.full((1, 1, 2), -5.0, requires_grad=True)
    loss = losses.hard_argmax_loss(positive_BTK, torch.zeros(1, 2), torch.tensor([[True, False]]))
    loss.sum().backward()
    assert positive_BTK.grad is not None
    assert positive_BTK.grad[0, 0, 0] != 0
    assert positive_BTK.grad[0, 0, 1] == 0


def test_mixture_is_the_weighted_mean_of_the_interests_probabilities() -> None:
    positive_BTK, negative_BK, mask_BK = draws()
    weight_BK = mask_BK / mask_BK.sum(dim=1, keepdim=True)
    share_BTK = (-losses.softmax_loss(positive_BTK, negative_BK.unsqueeze(1))).exp()
    expected = -(share_BTK * weight_BK.unsqueeze(1)).sum(dim=2).log()
    torch.testing.assert_close(losses.mixture_loss(positive_BTK, negative_BK, mask_BK, weight_BK), expected)


def test_gumbel_draws_existing_interests_as_often_as_their_softmax_says() -> None:
    positive_BTK, negative_BK, mask_BK = draws()
    positive_BTK.requires_grad_()
    loss_BT = losses.gumbel_loss(positive_BTK, negative_BK, mask_BK, 0.5, torch.Generator().manual_seed(0))
    loss_BTK = losses.softmax_loss(positive_BTK, negative_BK.unsqueeze(1))
    difference = (loss_BT.unsqueeze(2) - loss_BTK).abs().masked_fill(~mask_BK.unsqueeze(1), 1.0)
    assert (difference.amin(dim=2) < 1e-5).all(), "the value is the loss of one existing interest"
    loss_BT.sum().backward()
    assert positive_BTK.grad is not None
    assert torch.equal(positive_BTK.grad.abs().sum(dim=1) > 0, mask_BK)
    positive_BTK = torch.tensor([0.0, 0.0, math.log(4)]).expand(1, 100_000, 3)
    mask_BK = torch.ones(1, 3, dtype=torch.bool)
    loss_BT = losses.gumbel_loss(positive_BTK, torch.zeros(1, 3), mask_BK, 0.5, torch.Generator().manual_seed(0))
    nearest = (loss_BT < math.log(1.5)).float().mean().item()  # log 1.25 there, log 2 at the others
    assert abs(nearest - 4 / 6) < 0.01


def test_accidental_hits_are_not_negatives() -> None:
    row_T, target_T, pool_N = torch.tensor([0, 0, 1, 1]), torch.tensor([3, 5, 7, 0]), torch.tensor([5, 7, 9])
    hit_BN = accidental_hits(row_T, target_T, pool_N, 2)
    assert hit_BN.tolist() == [[True, False, False], [False, True, False]]
    score_BKN = torch.tensor([[[9.0, 1.0, 2.0]], [[1.0, 9.0, 2.0]]])
    logsumexp_BK = negative_logsumexp(score_BKN, torch.zeros(3), hit_BN.unsqueeze(1))
    expected = torch.tensor([1.0, 2.0]).logsumexp(0)
    torch.testing.assert_close(logsumexp_BK, expected.expand(2, 1))


def test_the_pool_negative_logsumexp_and_its_gradients_equal_the_plain_definition() -> None:
    random = torch.Generator().manual_seed(0)
    count = 600  # more than are computed at once
    vector_SD = torch.randn(count, 3, generator=random, dtype=torch.float64, requires_grad=True)
    pool_ND = torch.randn(7, 3, generator=random, dtype=torch.float64, requires_grad=True)
    log_q_N = torch.randn(7, generator=random, dtype=torch.float64)
    hit_BN = torch.rand(5, 7, generator=random) < 0.3
    hit_BN[4] = True  # one row has no negative at all
    row_S = torch.randint(0, 5, (count,), generator=random)
    weight_S = torch.randn(count, generator=random, dtype=torch.float64) * (row_S < 4)
    found: list[torch.Tensor] = []
    expected: list[torch.Tensor] = []
    for logsumexp_S, into in (
        (pool_negative_logsumexp(vector_SD, pool_ND, log_q_N, hit_BN, row_S), found),
        (negative_logsumexp(vector_SD @ pool_ND.T, log_q_N, hit_BN[row_S]), expected),
    ):
        into += [logsumexp_S, *torch.autograd.grad((logsumexp_S * weight_S).sum(), (vector_SD, pool_ND))]
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)
    assert torch.isfinite(
        torch.autograd.grad(pool_negative_logsumexp(vector_SD, pool_ND, log_q_N, hit_BN, row_S).sum(), pool_ND)[0]
    ).all()


def test_losses_without_a_negative_an_interest_or_a_weight_stay_finite() -> None:
    score_BKN = torch.randn(1, 1, 2, requires_grad=True)
    logsumexp_BK = negative_logsumexp(score_BKN, torch.zeros(2), torch.ones(1, 1, 2, dtype=torch.bool))
    loss = losses.softmax_loss(torch.zeros(1, 1), logsumexp_BK)
    loss.sum().backward()
    assert loss.item() == 0
    assert score_BKN.grad is not None
    assert torch.isfinite(score_BKN.grad).all()
    positive_BTK = torch.randn(1, 2, 3, requires_grad=True)
    nothing = torch.zeros(1, 3, dtype=torch.bool)
    loss_BT = losses.gumbel_loss(positive_BTK, torch.zeros(1, 3), nothing, 0.5, torch.Generator().manual_seed(0))
    loss_BT.sum().backward()
    assert positive_BTK.grad is not None
    assert torch.isfinite(loss_BT).all()
    assert torch.isfinite(positive_BTK.grad).all()
    loss = torch.ones(3, requires_grad=True)
    mean = sum_weighted(loss, torch.zeros(3)).mean()
    mean.backward()
    assert mean.item() == 0
    assert loss.grad is not None
    torch.testing.assert_close(
        sum_weighted(torch.tensor([1.0, 3.0]), torch.tensor([3.0, 1.0])).mean(), torch.tensor(1.5)
    )
    scores, nothing = torch.zeros(2, 3), torch.zeros(2, 3, dtype=torch.bool)
    masked = mask_with_lowest(scores, nothing)
    assert torch.isfinite(masked).all()
    assert torch.isfinite(masked.softmax(dim=1)).all()


def test_log_q_recovers_the_full_softmax_from_a_skewed_pool() -> None:
    """Items enter the pool with probability q: the corrected logsumexp is right on average, the plain one is not."""
    random = torch.Generator().manual_seed(0)
    score_N, q_N = torch.randn(400, generator=random), torch.rand(400, generator=random) * 0.9 + 0.05
    pools = torch.rand(2000, 400, generator=random) < q_N
    plain = torch.where(pools, score_N.exp(), 0.0).sum(dim=1).mean()
    right = torch.where(pools, (score_N - q_N.log()).exp(), 0.0).sum(dim=1).mean()
    full = score_N.exp().sum()
    assert abs(right / full - 1) < 0.02
    assert abs(plain / full - 1) > 0.3
