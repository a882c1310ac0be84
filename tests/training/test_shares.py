"""Shares that are known, and the simplest list that is level."""

from typing import Any, cast

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from multitudes.batches.user_vectors import INTEREST_KINDS, InterestKind
from multitudes.training.shares import candidate_shares, choose_shares, choose_simplest, fit_shares, mean_log_likelihood
from multitudes.training.validation import ScoredTargets

USERS, TARGETS = 400, 5


def test_shares_come_back_from_targets_drawn_by_them() -> None:
    random = np.random.default_rng(0)
    true = np.array([0.6, 0.3, 0.1])
    probability_GI = random.dirichlet(np.full(50, 0.1), size=3)
    items = [random.choice(50, p=probability_GI[g]) for g in random.choice(3, size=20_000, p=true)]
    log_p_MG = torch.from_numpy(np.log(np.maximum(probability_GI[:, items].T, 1e-30)))
    np.testing.assert_allclose(fit_shares(log_p_MG).numpy(), true, atol=0.02)


def test_a_kind_that_explains_nothing_gets_no_share() -> None:
    log_p_MG = torch.log(torch.tensor([[0.5, 1e-9, 0.1]])).repeat(100, 1)
    assert fit_shares(log_p_MG).tolist() == pytest.approx([1.0, 0.0, 0.0], abs=1e-6)


def test_a_kind_that_a_user_lacks_leaves_its_share_to_the_others() -> None:
    with_both = torch.log(torch.tensor([[0.2, 0.2]])).repeat(50, 1)
    without = torch.tensor([[np.log(0.2), -np.inf]]).repeat(50, 1)
    shares = fit_shares(torch.cat([with_both, without]).float())
    assert torch.isfinite(shares).all()
    assert shares.sum().item() == pytest.approx(1.0)
    assert shares[1] > 0.3, "users without a kind say nothing against it"


def test_the_likelihood_of_a_user_without_a_kind_counts_the_other_kinds_alone() -> None:
    log_p_MG = torch.tensor([[-1.0, -torch.inf, -torch.inf], [-2.0, -1.0, -torch.inf]])
    shares_G = torch.tensor([0.25, 0.75, 0.0])
    expected = (-1.0 + np.log(0.25 * np.exp(-2.0) + 0.75 * np.exp(-1.0))) / 2
    assert mean_log_likelihood(log_p_MG, shares_G) == pytest.approx(expected, abs=1e-5)


class PlantedTargets:
    """Targets of which each list finds a known share: that of interests ``gain`` more than the unconditioned vector."""

    def __init__(self, gain: float, kinds: tuple[InterestKind, ...] = INTEREST_KINDS) -> None:
        self.kinds, self.targets_B = kinds, np.full(USERS, TARGETS)
        p_G = torch.tensor([0.2, 0.2, 0.1]) * torch.tensor([kind in kinds for kind in INTEREST_KINDS])
        self.log_p_MG = (p_G * torch.rand(USERS * TARGETS, 3, generator=torch.Generator().manual_seed(0))).log()
        draw = np.random.default_rng(0)
        self._alone_B = draw.binomial(TARGETS, 0.3, USERS)
        more_B = draw.binomial(TARGETS - self._alone_B, abs(gain) / 0.7)
        noise_B = draw.permutation(np.repeat([-1, 1, 0], [USERS // 5, USERS // 5, USERS - 2 * (USERS // 5)]))
        self._mixture_B = np.clip(self._alone_B + int(np.sign(gain)) * more_B + noise_B, 0, TARGETS)

    def best_items_of_each(self, candidates: list[Tensor], n: int) -> list[Tensor]:
        del n
        return candidates

    def hits_of_users(self, shares_G: Tensor) -> NDArray[np.int64]:
        return self._alone_B if shares_G[0] == 1 else self._mixture_B

    def hit_rate(self, shares_G: Tensor, n: int) -> float:
        del n
        return float(self.hits_of_users(shares_G).sum() / self.targets_B.sum())


def choose(gain: float, kinds: tuple[InterestKind, ...] = INTEREST_KINDS) -> dict[str, Any]:
    chosen = choose_shares(cast("ScoredTargets", PlantedTargets(gain, kinds)), 10)
    assert chosen is not None
    assert chosen.hit_rate == PlantedTargets(gain, kinds).hit_rate(chosen.shares_G, 10)
    return chosen.record()


def test_interests_have_a_share_where_they_find_more() -> None:
    record = choose(gain=0.05)
    assert record["shares"]["implicit"] > 0
    assert record["mixture_gain"]["hit_rate"] > 2 * record["mixture_gain"]["standard_error"]


@pytest.mark.parametrize("gain", [0.0, 0.002, -0.05])
def test_the_whole_history_alone_is_taken_where_no_mixture_is_above_it_by_more_than_noise(gain: float) -> None:
    record = choose(gain)
    assert record["shares"] == {"unconditioned": 1.0, "implicit": 0.0, "explicit": 0.0}
    assert record["mixture_gain"]["hit_rate"] < record["mixture_gain"]["standard_error"]


def test_the_standard_error_is_that_of_a_bootstrap_over_users() -> None:
    random = np.random.default_rng(1)
    targets_B = random.integers(1, 40, USERS)
    difference_B = random.binomial(targets_B, 0.5)  # a gain that goes with the number of targets
    found = choose_simplest(np.stack([0 * targets_B, difference_B]), targets_B)
    draw = random.integers(0, USERS, (4_000, USERS))
    again = difference_B[draw].sum(axis=1) / targets_B[draw].sum(axis=1)
    assert found.gain_error == pytest.approx(again.std(), rel=0.05)


@pytest.mark.parametrize(("errors", "taken"), [(0.9, 2), (1.1, 0)])
def test_the_best_mixture_is_taken_from_its_standard_error_on(errors: float, taken: int) -> None:
    targets_B = np.full(100, 10)
    alone_B, noise_B = np.full(100, 5), np.repeat([1, -1], 50)
    hits_CB = np.stack([alone_B, alone_B - 1, alone_B + noise_B + 1])
    _, gain, error = choose_simplest(hits_CB, targets_B)
    assert gain is not None
    assert error is not None
    assert gain == pytest.approx(0.1), "of the best of the others"
    assert error == pytest.approx(1 / 10 / np.sqrt(99))
    assert choose_simplest(hits_CB, targets_B, errors * gain / error).candidate == taken


def test_by_default_it_is_taken_from_one_standard_error_on() -> None:
    targets_B, alone_B = np.full(1_000, 10), np.full(1_000, 5)
    noise_B = np.repeat([1, -1], 500)  # a standard error of .1 / √1,000 = .0032
    for more, taken in ((20, 0), (44, 1)):  # gains of .0020 and .0044
        more_B = (np.arange(1_000) % 1_000 < more).astype(np.int64)
        assert choose_simplest(np.stack([alone_B, alone_B + noise_B + more_B]), targets_B).candidate == taken


def test_one_user_says_nothing_of_others() -> None:
    assert choose_simplest(np.array([[1, 0], [3, 0]]), np.array([3, 0])) == (0, None, None)


def test_the_shares_that_are_compared_lie_between_the_likeliest_and_the_whole_history_alone() -> None:
    alone, *others = (shares_G.tolist() for shares_G in candidate_shares(torch.tensor([0.4, 0.4, 0.2])))
    assert alone == [1, 0, 0]
    assert others[0] == pytest.approx([0.4, 0.4, 0.2])
    assert others[2] == pytest.approx([0.88, 0.08, 0.04]), "four fifths moved"
    assert others[-3] == pytest.approx([0.5, 0.5, 0.0]), "no followed topics"
    assert len(others) == 9
    assert [sum(shares) for shares in others] == pytest.approx([1.0] * 9)


def test_without_an_unconditioned_vector_the_fitted_shares_are_taken() -> None:
    record = choose(0.05, ("implicit", "explicit"))
    assert record["mixture_gain"] is None
    assert record["shares"]["unconditioned"] == 0
    assert sum(record["shares"].values()) == pytest.approx(1.0)


def test_with_one_kind_there_is_nothing_to_choose() -> None:
    assert choose(0.05, ("unconditioned",))["mixture_gain"] is None


def test_without_a_target_nothing_is_chosen() -> None:
    planted = PlantedTargets(0.0)
    planted.log_p_MG = planted.log_p_MG[:0]
    assert choose_shares(cast("ScoredTargets", planted), 10) is None
