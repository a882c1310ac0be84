"""What the tower says is taken with care: a condition that was not drawn has no vector."""

from pathlib import Path

import numpy as np

from multitudes.batches.histories import gather_histories
from multitudes.batches.user_vectors import UserHistories
from multitudes.release.release import Release
from multitudes.retrieval.user_vectors import user_vectors


class Boastful:
    """A tower that claims every vector for every user."""

    def __init__(self, session):
        self._session = session

    def get_inputs(self):
        return self._session.get_inputs()

    def run(self, names, feed):
        vectors, weight, mask, cluster = self._session.run(names, feed)
        return vectors, np.ones_like(weight), np.ones_like(mask), cluster


def test_an_explicit_vector_exists_only_where_a_topic_was_drawn(shared_releases: Path):
    release = Release.open(shared_releases)
    users = np.arange(3)
    histories = gather_histories(release, users, release.event_offset[1:], 4)
    topics = np.array([[2, 0], [1, 2], [0, 0]])
    honest = user_vectors(release, UserHistories(histories, topics))
    assert honest.mask_BK.tolist() == [[1, 1, 1, 0], [1, 1, 1, 1], [0, 0, 0, 0]]
    assert honest.topic_BK[:, 2:].tolist() == topics.tolist()
    release.__dict__["user_tower"] = Boastful(release.user_tower)
    boastful = user_vectors(release, UserHistories(histories, topics))
    assert boastful.mask_BK[:, 2:].tolist() == [[1, 0], [1, 1], [0, 0]]
    assert (boastful.weight_BK[:, 2:] == boastful.mask_BK[:, 2:]).all()
