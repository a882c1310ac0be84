"""The names of many users' interests are those that each would get alone."""

from dataclasses import replace
from itertools import chain
from types import SimpleNamespace
from typing import Any

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
    release: Any = SimpleNamespace(
        topics=["", *"abcde"],
        item_names=ItemNames(PublishedNames(ids)),
        item_topic_offset=offset,
        item_topic=topic,
        item_count=np.append(0, rng.integers(0, 9, ITEMS)),
    )
    named = InterestNamer.from_release(release)
    item_BL = rng.integers(0, ITEMS + 1, (30, 8))
    mask_BK = rng.random((30, 4)) < 0.8
    cluster_BL = np.where(item_BL > 0, rng.integers(-1, 3, item_BL.shape), -1)
    zeros = np.zeros((30, 4), dtype=np.float32)
    topic_BK = np.where(np.array(KINDS) == "explicit", rng.integers(1, TOPICS, (30, 4)), 0)
    return named, UserVectors(KINDS, zeros[..., None], zeros, mask_BK, topic_BK, cluster_BL), item_BL


def expected_name(namer: InterestNamer, kind: str, condition: int, items: list[int], others: list[int]) -> str:
    """Return the name of an interest, by brute force."""
    if kind != "implicit":
        return "whole history" if kind == "unconditioned" else namer.topics[condition]
    gain = {}
    for topic in range(1, TOPICS):
        has = {i for i in range(ITEMS + 1) if topic in namer.item_topic[slice(*namer.item_topic_offset[i : i + 2])]}
        share, other = (sum(i in has for i in some) / max(len(some), 1) for some in (items, others))
        reference = max(other, namer.topic_base_T[topic])
        if share >= 0.5 and share > reference:
            gain[topic] = share * np.log(share / reference)
    best = sorted(gain, key=lambda topic: (-gain[topic], topic))[:2]
    if best:
        return " · ".join(namer.topics[topic] for topic in best)
    return f"like Film {items[0]}" if items else "without items"


def test_interests_have_the_names_of_their_topics_or_items():
    names, vectors, item_BL = world()
    together = names.name_all(vectors, item_BL)
    seen, told_apart = set(), 0
    for b in range(len(item_BL)):
        own = [item_BL[b][(vectors.assignment_BL[b] == k) & (item_BL[b] > 0)].tolist() for k in range(len(KINDS))]
        alone = [
            expected_name(names, kind, int(vectors.topic_BK[b, k]), own[k], list(chain(*own[:k], *own[k + 1 :])))
            if vectors.mask_BK[b, k] or own[k]
            else None
            for k, kind in enumerate(KINDS)
        ]
        apart = names.tell_apart(alone, [items[0] if items else None for items in own])
        expected = [name if has else None for name, has in zip(apart, vectors.mask_BK[b].tolist(), strict=True)]
        assert together[b * 4 : b * 4 + 4] == expected
        assert names.name_all(vectors.select(np.array([b])), item_BL[b : b + 1]) == expected
        seen |= {name for name in alone if name}
        told_apart += expected != alone
    assert told_apart
    assert {"whole history", "without items"} < seen
    assert any(name.startswith("like ") for name in seen)
    assert any(" · " in name for name in seen)


def test_what_an_interest_shares_with_the_others_is_not_in_its_name():
    ids = pl.DataFrame({"item_id": [1, 2, 3, 4], "title": ["A", "B", "C", "D"]})
    offset, topic = np.array([0, 0, 2, 4, 5, 5]), np.array([1, 2, 1, 3, 4], dtype=np.int32)  # item 4 has none
    release: Any = SimpleNamespace(
        topics=["", *"wxyz"],
        item_names=ItemNames(PublishedNames(ids)),
        item_topic_offset=offset,
        item_topic=topic,
        item_count=np.array([0, 1, 1, 99, 99]),
    )
    namer = InterestNamer.from_release(release)
    one = np.zeros((1, 2), dtype=np.float32)
    vectors = UserVectors(
        ("implicit", "implicit"), one[..., None], one, one == 0, one.astype(np.int64), np.array([[0, 0, 1, 1]])
    )
    assert namer.name_all(vectors, np.array([[1, 1, 2, 2]])) == ["x", "y"], "all have w, which is rare elsewhere"
    assert namer.name_all(vectors, np.array([[1, 1, 3, 3]])) == ["x · w", "z"], "the control: here w sets one apart"
    for deeper, name in (("w > x", "w > x"), ("wx", "wx · w")):
        path = replace(namer, topics=["", "w", deeper, "y", "z"])
        assert path.name_all(vectors, np.array([[1, 1, 3, 3]])) == [name, "z"], "a path says its levels"


def test_a_muted_interest_leaves_the_names_of_the_others_as_they_are():
    names, vectors, item_BL = world()
    item_BL = np.repeat(item_BL[:, :4], 2, axis=1)  # both implicit interests have the same items, so the same name
    interest_BL = np.where(item_BL > 0, np.arange(8) % 2 + 1, -1)
    twins = vectors._replace(assignment_BL=interest_BL, mask_BK=np.ones_like(vectors.mask_BK))
    before = names.name_all(twins, item_BL)
    is_first = np.arange(4) == 1
    after = names.name_all(twins._replace(mask_BK=twins.mask_BK & ~is_first), item_BL)
    assert after[2::4] == before[2::4]
    assert set(after[1::4]) == {None}


def test_no_two_names_of_one_answer_are_alike():
    names = world()[0]
    assert names.tell_apart(["a · b", "b · a"], [4, 7]) == ["a · b, like Film 4", "b · a, like Film 7"]
    assert names.tell_apart(["a", "a", "a"], [4, 4, 4]) == [
        "a, like Film 4",
        "a, like Film 4 (1)",
        "a, like Film 4 (2)",
    ]
    assert names.tell_apart(["a", "a", None, None], [None, None, 3, 4]) == ["a", "a (1)", None, None]
    assert names.tell_apart(["a (1)", "a", "a"], [None, None, None]) == ["a (1)", "a", "a (2)"]
