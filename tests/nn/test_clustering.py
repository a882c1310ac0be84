"""DCM on small known histories; each trap of the method has a test that the trap turns red."""

import pytest
import torch

from multitudes.nn.interest_assignment import participation_mask, scale_items
from multitudes.nn.interests.clustering import (
    Clustering,
    ClusteringConfig,
    farthest_points,
    random_items,
    single_assignment,
)
from multitudes.nn.interests.random_partition import RandomPartition, replace_by_random_partition
from multitudes.nn.primitives import l2_normalize, squash
from tests.nn.worlds import WIDTH, agreement, tastes


def test_three_planted_tastes_come_back_as_three_interests_and_noise_has_none() -> None:
    item_BLD, taste_BL = tastes()
    found = Clustering(ClusteringConfig(), 3, WIDTH)(item_BLD, torch.ones_like(taste_BL, dtype=torch.bool))
    assert agreement(found.assignment_BL, taste_BL) > 0.9
    assert found.interests.mask_BK.all()
    noise_BLD = torch.randn(*taste_BL.shape, 16, generator=torch.Generator().manual_seed(1))
    found = Clustering(ClusteringConfig(), 3, WIDTH)(noise_BLD, torch.ones_like(taste_BL, dtype=torch.bool))
    assert agreement(found.assignment_BL, taste_BL) < 0.1
    valid_BL = torch.ones_like(taste_BL, dtype=torch.bool)
    clusters = Clustering(ClusteringConfig(), 3, WIDTH)(item_BLD, valid_BL).interests
    order_L = torch.rand(taste_BL.shape[1], generator=torch.Generator().manual_seed(0))
    interests, part_BL = replace_by_random_partition(clusters, item_BLD, valid_BL, order_L)
    assert agreement(part_BL, taste_BL) < 0.1
    torch.testing.assert_close(interests.weight_BK, torch.full((len(taste_BL), 3), 1 / 3))


def test_random_groups_have_conditions_as_long_as_the_clusters() -> None:
    """Shorter ones would lose for their scale: with a mean, 0.4 stood beside 0.99."""
    item_BLD, taste_BL = tastes(users=8)
    valid_BL = torch.rand(taste_BL.shape, generator=torch.Generator().manual_seed(0)) < 0.7
    valid_BL[0, 2:] = False  # two events, and a slot that is masked
    clusters = Clustering(ClusteringConfig(), 3, WIDTH)(item_BLD, valid_BL).interests
    control = replace_by_random_partition(clusters, item_BLD, valid_BL, torch.rand(taste_BL.shape[1])).interests
    trained = RandomPartition(None, 3, WIDTH)(item_BLD, valid_BL).interests
    length_BK = [found.vectors_BKD.norm(dim=2) for found in (clusters, control, trained)]
    assert torch.equal(control.mask_BK, clusters.mask_BK)
    torch.testing.assert_close(length_BK[1][control.mask_BK], length_BK[0][clusters.mask_BK])
    assert 0.9 < length_BK[2][trained.mask_BK].min() < 1
    assert (control.vectors_BKD[~control.mask_BK] == 0).all()


@pytest.mark.parametrize("in_training", [False, True])
def test_an_invalid_item_is_never_a_centre(in_training: bool) -> None:
    """All similarities are negative here: multiplied by 0, an invalid item would be the one most unlike the others."""
    random = torch.Generator().manual_seed(0)
    corners_BLD = l2_normalize(torch.eye(12) - 0.3).expand(50, 12, 12)
    valid_BL = torch.rand(50, 12, generator=random) < 0.5
    valid_BL[:, 3] = True
    seed_BKD, found_BK = farthest_points(corners_BLD, valid_BL, 4, random if in_training else None)
    which_BKL = torch.isclose(seed_BKD.unsqueeze(2), corners_BLD.unsqueeze(1)).all(dim=3)
    assert (which_BKL.sum(dim=2) == 1).all()
    is_valid_BK = (which_BKL & valid_BL.unsqueeze(1)).any(dim=2)
    assert is_valid_BK[found_BK].all()
    assert torch.equal(found_BK.sum(dim=1), valid_BL.sum(dim=1).clamp(max=4))


def test_seeds_are_distinct_and_each_the_least_like_the_earlier_ones_or_random_in_training() -> None:
    item_BLD = torch.tensor([[[4.0, 0.0], [3.9, 0.1], [0.0, 4.0], [-4.0, 0.0]]])
    seed_BKD, found_BK = farthest_points(item_BLD, torch.ones(1, 4, dtype=torch.bool), 4, None)
    expected = item_BLD[:, [0, 3, 2, 1]]
    assert torch.equal(seed_BKD, expected)
    assert found_BK.all()
    a, b, c, d = 4 * torch.eye(4)
    item_BLD = torch.stack([a, b, b, c, d, a])[None]
    valid_BL = torch.tensor([[True, True, True, True, False, True]])
    order_BL = torch.tensor([[0.1, 0.8, 0.9, 0.3, 1.0, 0.7]])
    seed_BKD, found_BK = random_items(item_BLD, valid_BL, 4, order_BL)
    assert torch.equal(seed_BKD[0, :3], torch.stack([b, a, c]))  # the second b is no second seed, nor is the invalid d
    assert found_BK.tolist() == [[True, True, True, False]]


def test_serving_starts_from_the_most_recent_valid_item_and_training_from_a_random_one() -> None:
    item_BLD = torch.arange(24.0).view(1, 6, 4).expand(200, 6, 4)
    valid_BL = torch.tensor([False, False, True, True, False, True]).expand(200, 6)
    served, _ = farthest_points(item_BLD, valid_BL, 1, None)
    assert torch.equal(served[:, 0], item_BLD[:, 2])
    trained, _ = farthest_points(item_BLD, valid_BL, 1, torch.Generator().manual_seed(0))
    assert {float(v) for v in trained[:, 0, 0]} == {8.0, 12.0, 20.0}


def test_surplus_slots_are_masked_when_there_are_fewer_valid_items_than_interests() -> None:
    item_BLD, taste_BL = tastes(users=8)
    valid_BL = torch.zeros_like(taste_BL, dtype=torch.bool)
    valid_BL[:, [4, 9]] = True
    found = Clustering(ClusteringConfig(), 5, WIDTH)(item_BLD, valid_BL)
    assert (found.interests.mask_BK.sum(dim=1) <= 2).all()
    assert (found.interests.weight_BK[~found.interests.mask_BK] == 0).all()
    assert torch.equal(found.assignment_BL >= 0, valid_BL)


def test_copies_of_an_item_are_one_seed_despite_rounding() -> None:
    """Twins tie for every event, and runtimes round differently: a release would not be what was trained."""
    a, b, c = torch.randn(3, 16, generator=torch.Generator().manual_seed(1))
    history = torch.stack([a, b, c, b, c])
    rounded = history * (1 + 1e-7 * torch.randn(5, 16, generator=torch.Generator().manual_seed(2)))
    for item_BLD in (history[None], rounded[None]):
        valid_BL = torch.ones(1, 5, dtype=torch.bool)
        assert farthest_points(item_BLD, valid_BL, 4, None)[1].tolist() == [[True, True, True, False]]
        found = Clustering(ClusteringConfig(), 4, WIDTH)(item_BLD, valid_BL)
        three = Clustering(ClusteringConfig(), 3, WIDTH)(item_BLD, valid_BL)
        torch.testing.assert_close(found.interests.weight_BK[:, :3], three.interests.weight_BK)
    near = torch.stack([a, a + 0.01 * b, b])
    assert farthest_points(near[None], torch.ones(1, 3, dtype=torch.bool), 3, None)[1].all()


def test_gradient_flows_through_the_assignment_which_is_a_softmax_kept_at_its_largest_entry() -> None:
    item_BLD = torch.tensor([[[1.0, 0.0], [0.0, 2.0]]])
    centre_BKD = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
    logit_BLK = item_BLD @ centre_BKD.transpose(1, 2)
    share_BLK = single_assignment(logit_BLK, torch.ones(1, 2, 2, dtype=torch.bool))
    expected = logit_BLK.softmax(dim=2) * torch.eye(2)
    torch.testing.assert_close(share_BLK, expected)
    assert (share_BLK.sum(dim=2) < 1).all(), "a one-hot assignment would pass no gradient"
    item_BLD = torch.randn(2, 6, 4, generator=torch.Generator().manual_seed(0), requires_grad=True)
    share_BLK = single_assignment(item_BLD @ torch.randn(2, 4, 3), torch.ones(2, 6, 3, dtype=torch.bool))
    share_BLK.sum().backward()
    assert item_BLD.grad is not None
    assert (item_BLD.grad.abs().sum(dim=2) > 0).all()


def test_every_round_routes_by_the_current_centres_alone() -> None:
    """MIND adds each round's similarities to the logits of the round before; SAR does not."""
    item_BLD, taste_BL = tastes(users=4)
    item_BLD = scale_items(item_BLD)
    valid_BL = torch.ones_like(taste_BL, dtype=torch.bool)
    centre_BKD, distinct_BK = farthest_points(item_BLD, valid_BL, 3, None)
    accumulated_BLK = torch.zeros(4, 30, 3)
    for _ in range(3):
        logit_BLK = item_BLD @ centre_BKD.transpose(1, 2)
        share_BLK = single_assignment(logit_BLK, participation_mask(valid_BL, distinct_BK))
        accumulated_BLK = accumulated_BLK + logit_BLK
        centre_BKD = squash(share_BLK.transpose(1, 2) @ item_BLD)
    found = Clustering(ClusteringConfig(), 3, WIDTH)(item_BLD, valid_BL)
    torch.testing.assert_close(found.interests.vectors_BKD, centre_BKD)
    assert not torch.allclose(accumulated_BLK.softmax(dim=2).amax(dim=2), share_BLK.amax(dim=2), atol=1e-3)


def test_soft_kmeans_differs_from_single_assignment_in_the_choice_of_one_cluster_alone() -> None:
    """MIND's agreement differs in more: its logits add up, and its gradient flows through the last round alone."""
    item_BLD, taste_BL = tastes(users=4)
    valid_BL = torch.rand(taste_BL.shape, generator=torch.Generator().manual_seed(0)) < 0.8
    given_BLD = item_BLD.requires_grad_()
    item_BLD = scale_items(given_BLD)
    centre_BKD, distinct_BK = farthest_points(item_BLD, valid_BL, 3, None)
    participates_BLK = participation_mask(valid_BL, distinct_BK)
    for _ in range(3):
        logit_BLK = item_BLD @ centre_BKD.transpose(1, 2)
        share_BLK = logit_BLK.masked_fill(~participates_BLK, -1e30).softmax(dim=2) * valid_BL.unsqueeze(2)
        centre_BKD = squash(share_BLK.transpose(1, 2) @ item_BLD)
    found = Clustering(ClusteringConfig(assignment="soft_kmeans"), 3, WIDTH)(given_BLD, valid_BL)
    torch.testing.assert_close(found.interests.vectors_BKD, centre_BKD)
    direction = torch.randn(WIDTH, generator=torch.Generator().manual_seed(1))
    expected, gradient = (
        torch.autograd.grad((vectors_BKD @ direction).sum(), given_BLD, retain_graph=True)[0]
        for vectors_BKD in (centre_BKD, found.interests.vectors_BKD)
    )
    torch.testing.assert_close(gradient, expected)
    kept_BLK = single_assignment(logit_BLK, participates_BLK)
    torch.testing.assert_close(kept_BLK, torch.where(kept_BLK > 0, share_BLK, 0.0))


def test_random_seeds_are_drawn_in_training_and_fixed_in_serving() -> None:
    item_BLD, taste_BL = tastes(users=4)
    valid_BL = torch.ones_like(taste_BL, dtype=torch.bool)
    module = Clustering(ClusteringConfig(seeds="random_items"), 3, WIDTH)
    served = [module(item_BLD, valid_BL).interests.vectors_BKD for _ in range(2)]
    trained = [module(item_BLD, valid_BL, torch.Generator().manual_seed(s)).interests.vectors_BKD for s in range(2)]
    assert torch.equal(*served)
    assert not torch.equal(*trained)
    newest = Clustering(ClusteringConfig(), 3, WIDTH)(item_BLD, valid_BL).interests.vectors_BKD
    assert not torch.allclose(served[0], newest)
