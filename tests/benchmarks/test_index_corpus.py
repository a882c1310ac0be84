import numpy as np
import pytest
from benchmarks.index import corpus
from benchmarks.index.corpus import KINDS, VECTORS_PER_USER, Corpus, mean_cosine


@pytest.mark.parametrize("kind", KINDS)
def test_items_and_users_are_of_unit_length_and_the_same_again(kind):
    made = Corpus(kind, 500, 8)
    (items,), users = made.chunks(), made.users(20, "asked")
    assert (items.shape, users.shape) == ((500, 8), (20, VECTORS_PER_USER, 8))
    assert (items == next(made.chunks())).all()
    for vectors in (items, users):
        assert abs((vectors**2).sum(axis=-1) - 1).max() < 1e-5


def test_chunks_follow_each_other_and_are_not_the_same_items_again(monkeypatch):
    monkeypatch.setattr(corpus, "_CHUNK", 40)
    chunks = list(Corpus("latent", 100, 8).chunks())
    assert [len(chunk) for chunk in chunks] == [40, 40, 20]
    assert not np.isin(chunks[0], chunks[1]).any()


def test_groups_of_users_do_not_share_anybody():
    made = Corpus("latent", 500, 8)
    assert not np.isin(made.users(20, "asked"), made.users(20, "tuning")).any()


@pytest.mark.parametrize("kind", KINDS)
def test_the_vectors_of_a_user_are_near_each_other_unless_they_are_unrelated(kind):
    made = Corpus(kind, 20_000, 64)
    related, unrelated = (mean_cosine(made.users(200, "asked", related)) for related in (True, False))
    assert abs(unrelated) < 0.05
    assert related > (0.55 if kind == "latent" else 0.25)


def test_neighbours_are_nearer_among_clusters_than_among_factors():
    def nearest(kind):
        made = Corpus(kind, 5_000, 64)
        return np.mean((made.users(20, "asked").reshape(-1, 64) @ next(made.chunks()).T).max(axis=1))

    assert nearest("clustered") > nearest("latent") + 0.1


def test_the_mean_cosine_is_of_pairs_and_not_of_a_vector_with_itself():
    assert mean_cosine(np.eye(3, dtype=np.float32)[None]) == pytest.approx(0)
    assert mean_cosine(np.ones((1, 3, 1), dtype=np.float32)) == pytest.approx(1)
