"""The inputs that a run gets to make user vectors."""

import dataclasses

import numpy as np

from multitudes.batches.held_out import held_out_users
from multitudes.retrieval.config import RetrieveConfig
from multitudes.retrieval.scorer import catalogue, user_vectors
from tests.evaluation.worlds import FakeRun, prepared


class Listener(FakeRun):
    def user_vectors(self, users, partition="interests"):
        self.told = users.histories.follow_BF, users.topic_BC
        return super().user_vectors(users, partition)


def told(data):
    run = Listener(data.path, data, wanted=[[1, 2]] * data.n_users)
    user_vectors(run, held_out_users(data, "test"), RetrieveConfig(), catalogue(run, run.item_vectors()))
    return [rows.any(axis=1).tolist() for rows in run.told]


def test_followed_topics_are_used_only_if_known_at_the_cut(tmp_path):
    data = prepared(tmp_path, [[1], [1]], [[2, 3], [2, 3]], [[1]] * 3, follows=[[1], [1]])
    assert told(data) == [[True, True]] * 2
    after = np.array([True, False, True, True, True, True])  # the first held-out event of the first user was part of it
    assert told(dataclasses.replace(data, event_after_follows=after)) == [[False, True]] * 2
