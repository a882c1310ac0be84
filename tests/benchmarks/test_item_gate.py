"""The gate that knows the item: its ends are the single vectors, and it learns which vector has the targets."""

import numpy as np
import pytest
import torch
from benchmarks.interest_gate import measure as measure_interests
from benchmarks.item_gate import Gate, World, fit, hits, world_of

from benchmarks import interest_gate, item_gate
from tests.benchmarks.test_interest_gate import run

__all__ = ["run"]


def test_a_gate_that_is_open_for_the_whole_history_alone_finds_what_that_finds(run, monkeypatch: pytest.MonkeyPatch):
    for module in (interest_gate, item_gate):
        monkeypatch.setattr(module, "BUDGET", 10)
    world, expected = world_of(run), measure_interests(run)["whole history"]
    assert expected.sum() > 0
    np.testing.assert_array_equal(hits(world, 0.0), expected)
    only_whole = torch.tensor([1e6, *[0.0] * (world.known_BKF.shape[2] - 1)])
    np.testing.assert_array_equal(hits(world, Gate(only_whole, torch.zeros(3))), expected)


def planted(drawn_from: int) -> World:
    """Return a world of two vectors whose targets are drawn from one of them; 1 is an interest."""
    users, items = 300, 400
    random = torch.Generator().manual_seed(0)
    score_BKI = 3 * torch.randn(users, 2, items, generator=random)
    score_BKI[:, :, 0] = -99
    user_M = torch.arange(users).repeat_interleave(4)
    item_M = torch.multinomial(score_BKI[user_M, drawn_from].softmax(dim=1), 1, generator=random)[:, 0]
    seen_BI = torch.zeros(users, items, dtype=torch.bool)
    seen_BI[:, 0] = True
    return World(
        log_p_BKI=score_BKI.log_softmax(dim=2),
        seen_BI=seen_BI,
        standard_BKI=score_BKI / 3,
        known_BKF=torch.tensor([[1.0, 0.0], [0.0, 1.0]]).expand(users, 2, 2),
        mask_BK=torch.ones(users, 2, dtype=torch.bool),
        whole_K=torch.tensor([1.0, 0.0]),
        popularity_I=torch.randn(items, generator=random),
        user_M=user_M,
        item_M=item_M,
    )


@pytest.mark.parametrize("with_item", [False, True])
def test_the_gate_learns_which_vector_has_the_targets(with_item: bool):
    of_whole, of_interest = planted(0), planted(1)
    every = torch.ones(len(of_whole.user_M), dtype=torch.bool)
    assert fit(of_whole, every, with_item=with_item).known_F.diff()[0] < -2
    learned = fit(of_interest, every, with_item=with_item)
    assert learned.known_F.diff()[0] > 2
    assert hits(of_interest, learned).sum() > 1.5 * hits(of_interest, 0.0).sum()
