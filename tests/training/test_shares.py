"""Shares that are known, and the simplest list that is level."""

import numpy as np
import pytest
import torch

from multitudes.training.shares import fit_shares

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
