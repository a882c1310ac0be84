"""The names of many users' interests are those that each would get alone."""

import numpy as np
import polars as pl

from multitudes.batches.user_vectors import InterestKind, UserVectors
from multitudes.release.id_mapping import ItemNames, PublishedNames
from multitudes.retrieval.interest_names import InterestNamer
from multitudes.seeding import generator

KINDS: tuple[InterestKind, ...] = ("unconditioned", "implicit", "implicit", "explicit")
ITEMS, TOPICS = 40, 6


def world() -> tuple[InterestNamer, UserVectors, np.ndarray]:
    rng = generator(0, "names")
    count = np.append(0, rng.integers(0, 4, ITEMS))
    topic = np.concatenate([np.sort(rng.choice(np.arange(1, TOPICS), c, replace=False)) for c in count]).astype(
        np.int32
    )
    ids = pl.DataFrame({"item_id": range(1, ITEMS + 1), "title": [f"Film {i}" for i in range(1, ITEMS + 1)]})
    offset = np.append(0, count.cumsum()).astype(np.int64)
    named = InterestNamer.build(
        ["", *"abcde"], ItemNames(PublishedNames(ids)), offset, topic, np.append(0, rng.integers(0, 9, ITEMS))
    )
    item_BL = rng.integers(0, ITEMS + 1, (30, 8))
    mask_BK = rng.random((30, 4)) < 0.8
    cluster_BL = np.where(item_BL > 0, rng.integers(-1, 3, item_BL.shape), -1)
    zeros = np.zeros((30, 4), dtype=np.float32)
    topic_BK = np.where(np.array(KINDS) == "explicit", rng.integers(1, TOPICS, (30, 4)), 0)
    return named, UserVectors(KINDS, zeros[..., None], zeros, mask_BK, topic_BK, cluster_BL), item_BL


def test_together_and_alone_they_are_called_the_same():
    names, vectors, item_BL = world()
    together = names.name_all(vectors, item_BL)
    seen, told_apart = set(), 0
    for b in range(len(item_BL)):
        alone: list[str | None] = []
        newest: list[int | None] = []
        for k, kind in enumerate(KINDS):
            own = item_BL[b][(vectors.assignment_BL[b] == k) & (item_BL[b] > 0)]
            name = names.name(kind, int(vectors.topic_BK[b, k]), own.tolist(), names.topics_of(own))
            alone.append(name if vectors.mask_BK[b, k] else None)
            newest.append(int(own[0]) if len(own) else None)
            seen.add(name)
        expected = names.tell_apart(alone, newest)
        assert together[b * 4 : b * 4 + 4] == expected
        told_apart += expected != alone
    assert told_apart
    assert {"whole history", "without items"} < seen
    assert any(name.startswith("like ") for name in seen)
    assert any(" · " in name for name in seen)


def test_interests_of_one_name_are_told_apart_by_their_newest_items():
    names = world()[0]
    given = ["a · b", "a · b", "a", None, "a", "c"]
    assert names.tell_apart(given, [4, 7, 5, 6, None, 9]) == [
        "a · b, like Film 4",
        "a · b, like Film 7",
        "a, like Film 5",
        None,
        "a",
        "c",
    ]
