"""MIND and ComiRec-DR against slow definitions, and the weakness that MIND's random start has."""

import math

import torch

from multitudes.nn.interest_assignment import NOISE_POSITIONS, scale_items, start_noise
from multitudes.nn.interests.clustering import Clustering, ClusteringConfig
from multitudes.nn.interests.dynamic_routing import DynamicRouting
from multitudes.nn.interests.routing import Routing
from tests.nn.worlds import WIDTH, agreement, likeness, tastes


def slow_routing(votes: list[list[list[float]]], logits: list[list[float]], rounds: int) -> list[list[float]]:
    """Route one user's events by the definition; votes[l][k] is a vector, an event's shares are over the interests."""
    events, interests, width = range(len(votes)), range(len(votes[0])), range(len(votes[0][0]))
    for _ in range(rounds):
        odds = [[math.exp(logits[e][k]) for k in interests] for e in events]
        share = [[odds[e][k] / sum(odds[e]) for k in interests] for e in events]
        found = []
        for k in interests:
            z = [sum(share[e][k] * votes[e][k][d] for e in events) for d in width]
            square = sum(v * v for v in z)
            found.append([math.sqrt(square) / (1 + square) * v for v in z])
        logits = [[logits[e][k] + sum(found[k][d] * votes[e][k][d] for d in width) for k in interests] for e in events]
    return found


def test_mind_and_comirec_route_as_they_are_defined() -> None:
    item_BLD, taste_BL = tastes(users=2, length=12)
    valid_BL = torch.ones_like(taste_BL, dtype=torch.bool)
    mind = Routing(None, 3, WIDTH)
    torch.nn.init.normal_(mind.bilinear.weight)
    found_BKD = mind(item_BLD, valid_BL).interests.vectors_BKD
    votes = mind.bilinear(scale_items(item_BLD)).unsqueeze(2).expand(-1, -1, 3, -1)
    for b in range(2):
        expected = slow_routing(votes[b].tolist(), start_noise(valid_BL, mind.noise_PK, None)[b].tolist(), 3)
        torch.testing.assert_close(found_BKD[b], torch.tensor(expected), atol=1e-5, rtol=1e-4)
    routing = DynamicRouting(None, 3, WIDTH)
    found_BKD = routing(item_BLD, torch.ones_like(taste_BL, dtype=torch.bool)).interests.vectors_BKD
    for b in range(2):
        votes = [[(item @ routing.map_KDD[k]).tolist() for k in range(3)] for item in scale_items(item_BLD[b])]
        expected = slow_routing(votes, [[0.0] * 3 for _ in range(12)], 3)
        torch.testing.assert_close(found_BKD[b], torch.tensor(expected), atol=1e-5, rtol=1e-4)


def test_interests_of_a_random_start_collapse_where_those_of_distinct_seeds_do_not() -> None:
    """The paper's reason for VA-FPI. In noise there is nothing to tell apart, for either."""
    item_BLD, taste_BL = tastes()
    valid_BL = torch.ones_like(taste_BL, dtype=torch.bool)
    mind, dcm = Routing(None, 3, WIDTH), Clustering(ClusteringConfig(), 3, WIDTH)
    random_start, distinct_seeds = mind(item_BLD, valid_BL), dcm(item_BLD, valid_BL)
    assert likeness(random_start.interests) > 0.4
    assert likeness(distinct_seeds.interests) < 0.1
    assert agreement(random_start.assignment_BL, taste_BL) < 0.6
    assert agreement(distinct_seeds.assignment_BL, taste_BL) > 0.9
    noise_BLD = torch.randn(item_BLD.shape, generator=torch.Generator().manual_seed(0))
    assert all(agreement(module(noise_BLD, valid_BL).assignment_BL, taste_BL) < 0.1 for module in (mind, dcm))


def test_gradient_reaches_the_items_of_the_last_round_alone() -> None:
    item_BLD, taste_BL = tastes(users=1, length=6)
    item_BLD.requires_grad_()
    valid_BL = torch.ones_like(taste_BL, dtype=torch.bool)
    found = Routing(None, 2, WIDTH)(item_BLD, valid_BL)
    found.interests.vectors_BKD[0, 0, 0].backward()
    assert item_BLD.grad is not None
    assert (item_BLD.grad.abs().sum(dim=2) > 0).all()
    assert not found.interests.weight_BK.requires_grad


def test_training_draws_its_start_and_evaluation_does_not() -> None:
    item_BLD, taste_BL = tastes(users=4)
    valid_BL = torch.ones_like(taste_BL, dtype=torch.bool)
    mind = Routing(None, 3, WIDTH)

    def vectors(seed: int | None) -> torch.Tensor:
        draws = None if seed is None else torch.Generator().manual_seed(seed)
        vectors_BKD: torch.Tensor = mind(item_BLD, valid_BL, draws).interests.vectors_BKD
        return vectors_BKD

    assert torch.equal(vectors(None), vectors(None))
    assert torch.equal(vectors(1), vectors(1))
    assert not torch.equal(vectors(1), vectors(2))


def test_two_users_with_the_same_history_start_alike_however_long_it_is() -> None:
    valid_BL = torch.ones(2, NOISE_POSITIONS + 3, dtype=torch.bool)
    noise_BLK = start_noise(valid_BL, Routing(None, 3, WIDTH).noise_PK, None)
    assert torch.equal(noise_BLK[0], noise_BLK[1])
    assert torch.equal(noise_BLK[:, NOISE_POSITIONS:], noise_BLK[:, :3])
    assert not torch.equal(noise_BLK[:, 3:6], noise_BLK[:, :3])


def test_a_short_history_has_fewer_interests_where_k_is_by_user() -> None:
    torch.manual_seed(0)  # the maps of an interest are drawn
    item_BLD, _ = tastes(users=3, length=16)
    valid_BL = torch.arange(16) < torch.tensor([[3], [5], [16]])
    mind, comirec = (module(None, 4, WIDTH)(item_BLD, valid_BL) for module in (Routing, DynamicRouting))
    assert (mind.interests.mask_BK.sum(dim=1) <= torch.tensor([1, 2, 4])).all()
    assert comirec.interests.mask_BK.sum(dim=1)[0] > 1
