"""Concepts that all users share, and a user's parts of them."""

import pytest
import torch

from multitudes.nn.interests import subsequence
from multitudes.nn.interests.subsequence import Subsequence, kmeans_plus_plus, largest_concepts
from multitudes.nn.primitives import l2_normalize
from tests.nn.worlds import WIDTH, agreement, shared_tastes


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def module(concepts: int = 6, k: int = 3) -> Subsequence:
    torch.manual_seed(0)
    return Subsequence(None, k, WIDTH, concepts)


def test_shared_tastes_become_concepts_in_training_and_not_without() -> None:
    item_BLD, taste_BL = shared_tastes()
    valid_BL = torch.ones_like(taste_BL, dtype=torch.bool)
    trained, untrained = module(3), module(3)
    for step in range(5):
        trained(item_BLD, valid_BL, draws(step))
    assert agreement(trained(item_BLD, valid_BL).assignment_BL, taste_BL) > 0.95
    assert agreement(untrained(item_BLD, valid_BL).assignment_BL, taste_BL) < 0.8


def test_the_concepts_with_most_events_are_the_interests_and_there_are_enough() -> None:
    place = torch.tensor([[2, 2, 0, 1, 0, 2, 3, 3]])
    member_BLM = torch.nn.functional.one_hot(place, 5).bool()
    assert largest_concepts(member_BLM, 4).tolist() == [[2, 0, 3, 1]]  # 0 and 3 have two each; 0 has the newer one
    assert len(module(2, k=3).sum_MD) == 3


def test_an_interest_is_the_mean_of_its_events_and_lesser_concepts_belong_to_none() -> None:
    item_BLD = torch.eye(3, WIDTH)[torch.tensor([[0, 1, 0, 2, 1, 0]])]
    parts = module(3, k=2)
    parts.sum_MD.data = torch.eye(3, WIDTH)
    (vectors_BKD, weight_BK, mask_BK), assignment_BL = parts(item_BLD, torch.ones(1, 6, dtype=torch.bool))
    assert assignment_BL.tolist() == [[0, 1, 0, -1, 1, 0]]
    assert torch.equal(vectors_BKD[0], torch.eye(2, WIDTH))
    torch.testing.assert_close(weight_BK, torch.tensor([[0.6, 0.4]]))
    assert mask_BK.all()


def test_concepts_follow_the_items_in_training_and_stay_in_evaluation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subsequence, "_MEMORY", 0.5)
    item_BLD, taste_BL = shared_tastes()
    valid_BL = torch.ones_like(taste_BL, dtype=torch.bool)
    parts = module(3)
    parts(item_BLD, valid_BL, draws())
    before = parts.sum_MD.clone()
    parts(-item_BLD, valid_BL)
    assert torch.equal(parts.sum_MD, before)
    for step in range(12):
        parts(-item_BLD, valid_BL, draws(step))
    assert (l2_normalize(parts.sum_MD) @ torch.eye(3, WIDTH).T).amin(dim=1).max() < -0.9


def test_invalid_events_move_no_concept_and_a_dead_one_restarts_among_the_items() -> None:
    item_BLD, taste_BL = shared_tastes()
    valid_BL = torch.rand(taste_BL.shape, generator=draws()) < 0.5
    one, other = module(), module()
    one(item_BLD, valid_BL, draws(1))
    other(torch.where(valid_BL.unsqueeze(2), item_BLD, 9.0), valid_BL, draws(1))
    assert torch.equal(one.sum_MD, other.sum_MD)
    other(item_BLD, torch.zeros_like(valid_BL), draws(2))
    assert torch.equal(one.sum_MD, other.sum_MD)
    valid_BL = torch.ones_like(taste_BL, dtype=torch.bool)
    parts = module(3)
    parts(item_BLD, valid_BL, draws())
    parts.sum_MD.data[1] = -torch.ones(WIDTH)
    parts.count_M.data[1] = 0.0
    parts(item_BLD, valid_BL, draws(1))
    assert (l2_normalize(item_BLD) @ l2_normalize(parts.sum_MD[1])).max() > 0.999


def test_the_first_concepts_are_spread_over_the_items() -> None:
    """Nine items in ten lie in one corner: even draws miss one of the other two corners more often than not."""
    corner_N = torch.cat([torch.zeros(90), torch.ones(5), torch.full((5,), 2.0)]).long()
    item_ND = torch.eye(3, WIDTH)[corner_N]
    found = [kmeans_plus_plus(item_ND, 3, draws(seed))[:, :3].argmax(dim=1).unique().numel() for seed in range(20)]
    even = [corner_N[torch.randint(100, (3,), generator=draws(seed))].unique().numel() for seed in range(20)]
    assert min(found) == 3
    assert sum(n == 3 for n in even) < 5
