"""The world of the service's benchmark: users with tastes, and releases that answer in full."""

from contextlib import closing

import numpy as np
import pytest
from benchmarks.index.corpus import Corpus
from benchmarks.service import stage_costs
from benchmarks.service.releases import STORE, world_folder
from benchmarks.service.world import TASTES, Sizes, draw_world

from multitudes.release.release import Release
from multitudes.retrieval.request import Request
from multitudes.retrieval.retriever import Retriever
from multitudes.retrieval.user_context import UserContextBuilder
from multitudes.retrieval.user_vectors import user_vectors
from multitudes.state.store import open_state_store

SIZES = Sizes(items=1_500, users=12, width=16, topics=8, history=10, seen=20, follows=4)


def test_a_history_lies_near_the_tastes_of_its_user_and_not_near_those_of_another():
    world = draw_world(SIZES)
    taste_UGD = Corpus("latent", SIZES.items, SIZES.width).users(SIZES.users, "served")[:, :TASTES]
    item_ULD = world.item_ID[world.seen_UL - 1]
    own = np.einsum("uld,ugd->ulg", item_ULD, taste_UGD).max(axis=2).mean()
    others = np.einsum("uld,ugd->ulg", item_ULD, np.roll(taste_UGD, 1, axis=0)).max(axis=2).mean()
    assert own > 0.6
    assert others < own - 0.3


def test_topics_are_numbered_from_one_and_nobody_follows_one_twice():
    world = draw_world(SIZES)
    assert set(np.unique(world.topic_I)) == set(range(1, SIZES.topics + 1))
    assert all(len(set(follows)) == SIZES.follows for follows in world.follow_UF.tolist())


def _vectors_without_history(folder):
    """Return the vectors of somebody who follows one topic and did nothing."""
    release = Release.open(folder)
    histories = UserContextBuilder(release).from_request((), ("Topic 1",)).histories
    made = user_vectors(release, histories, np.array([[1, 0, 0, 0, 0]]))
    return made.vectors_BKD[made.mask_BK]


@pytest.mark.slow
@pytest.mark.usefixtures("shared_exports")
def test_both_releases_answer_in_full_and_only_joint_with_a_vector_for_each_interest(tmp_path):
    folder = world_folder(SIZES, tmp_path)
    with closing(open_state_store(folder / STORE)) as states:
        (person,) = states.read([3])
    assert len(person.events) == SIZES.history
    answers = {
        method: Retriever.open(folder / method).answer([Request(3, user_state=person, n=30)])[0]
        for method in ("single", "joint")
    }
    assert {method: len(answer.interests) for method, answer in answers.items()} == {"single": 1, "joint": 11}
    assert not any(answer.degraded for answer in answers.values())
    lengths = np.linalg.norm(_vectors_without_history(folder / "joint"), axis=1)
    assert lengths == pytest.approx(1 / 0.07)  # a vector of nothing would have every item scanned
    found = stage_costs.measure(str(folder), "joint", requests=3, rounds=2, n=30)
    assert set(found["stages"]) == set(stage_costs.STAGES)
    assert all(spread["min"] > 0 for spread in found["stages"].values())
