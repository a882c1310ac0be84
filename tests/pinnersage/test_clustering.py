"""PinnerSage on a plane: three directions of items, each cluster, medoid and importance known."""

import numpy as np
import pytest

from multitudes.batches.histories import Histories
from multitudes.index.item_table import l2_normalize
from multitudes.pinnersage import clustering
from multitudes.pinnersage.clustering import PinnerSageConfig

DEGREES = np.array([0, 10, 20, 120, 130, 240])  # items 1 to 6; item 7 has no vector
ANGLE = np.deg2rad(DEGREES)
ITEMS = np.concatenate([np.zeros((1, 2)), np.stack([np.cos(ANGLE), np.sin(ANGLE)], 1), np.zeros((1, 2))])
UNIT = l2_normalize(ITEMS.astype(np.float32) * np.arange(1, 9)[:, None])  # of any length before
CONFIG = PinnerSageConfig(history=8, interests=3)


def histories(*rows, length=8, valid=None):
    """Return users with these items, newest first."""
    item_BL = np.array([[*row, *[0] * (length - len(row))] for row in rows]).reshape(len(rows), length)
    valid_BL = item_BL > 0 if valid is None else np.array(valid)
    nothing = np.zeros((len(rows), 0), dtype=np.float32)
    return Histories(item_BL, (item_BL > 0).astype(np.int64), valid_BL, nothing.astype(np.int64), nothing)


def vectors(users, config=CONFIG, age_BL=None, **more):
    age_BL = clustering.event_ages(age_BL, users.item_BL, ordered_only=True)
    return clustering.user_vectors(users, age_BL, UNIT, config, clustering.typical_distance(UNIT), **more)


def named(found, b=0):
    """Return the items that speak for the interests of user ``b``."""
    return [int((UNIT @ vector).argmax()) for vector in found.vectors_BKD[b][found.mask_BK[b]]]


def test_each_direction_is_an_interest_represented_by_its_middle_item_by_importance():
    found = vectors(histories([4, 1, 3, 2, 6]), age_BL=np.zeros((1, 8), dtype=np.int64))
    assert named(found) == [2, 4, 6]  # three events, then two of one event each, the newer one first
    assert found.assignment_BL[0].tolist() == [1, 0, 0, 0, 2, -1, -1, -1]
    assert found.weight_BK[0] == pytest.approx([3 / 5, 1 / 5, 1 / 5])
    found = vectors(histories([7, 1, 4, 6], valid=[[1, 1, 0, 1, 0, 0, 0, 0]]))
    assert named(found) == [1, 6]
    assert found.assignment_BL[0].tolist() == [-1, 0, -1, 1, -1, -1, -1, -1]
    found = vectors(histories([], [7], [1]))
    assert found.mask_BK.tolist() == [[0, 0, 0], [0, 0, 0], [1, 0, 0]]
    assert not found.vectors_BKD[:2].any()
    assert not found.weight_BK[:2].any()
    found = vectors(histories([6, 4, 5, 1, 2, 3]), CONFIG.model_copy(update={"interests": 2}))
    assert named(found) == [2, 4]
    assert found.assignment_BL[0, 0] == -1
    assert found.weight_BK.sum() == pytest.approx(1)


def test_importance_decays_with_ages_of_days_or_events():
    users = histories([4, 2, 2])
    found = vectors(users, age_BL=np.array([[450, 400, 250, 0, 0, 0, 0, 0]]))
    left = np.exp(-clustering.DECAY * np.array([0, 50, 200]))
    assert found.weight_BK[0, :2] == pytest.approx([left[0] / left.sum(), left[1:].sum() / left.sum()])
    assert named(found) == [4, 2]  # one new event outweighs two old ones
    assert named(vectors(users, age_BL=np.zeros((1, 8), dtype=np.int64))) == [2, 4]  # the control
    item_BL = np.zeros((1, 3), dtype=np.int64)
    days = clustering.event_ages(np.array([[86_400 * 3, 86_400, 0]]), item_BL, ordered_only=False)
    assert days.tolist() == [[0, 2, 3]]
    assert clustering.event_ages(np.array([[7, 6, 4]]), item_BL, ordered_only=True).tolist() == [[0, 1, 3]]
    assert clustering.event_ages(None, item_BL, ordered_only=False).tolist() == [[0, 1, 2]]


def test_the_distance_decides_how_many_interests_there_are():
    users = histories([1, 2, 3, 4, 5, 6])
    wide, narrow = (CONFIG.model_copy(update={"interests": 8, "distance": d}) for d in (9.0, 0.0))
    assert (vectors(users, wide).mask_BK.sum(), vectors(users, narrow).mask_BK.sum()) == (1, 6)


def test_a_crowded_space_is_clustered_as_a_wide_one():
    """All vectors share a strong direction, as those of text encoders do: distances count against the typical one."""
    crowded = l2_normalize(np.hstack([ITEMS, 5 * ITEMS.any(axis=1, keepdims=True)]).astype(np.float32))
    users = histories([1, 2, 3, 4, 5, 6])
    age_BL = clustering.event_ages(None, users.item_BL, ordered_only=True)
    typical = clustering.typical_distance(crowded)
    found = clustering.user_vectors(users, age_BL, crowded, CONFIG, typical)
    assert found.assignment_BL.tolist() == vectors(users).assignment_BL.tolist()
    absolute = clustering.user_vectors(users, age_BL, crowded, CONFIG, clustering.typical_distance(UNIT))
    assert absolute.mask_BK.sum() == 1  # the control: one distance for all spaces takes everything for one interest


def test_other_users_padding_and_repetition_do_not_change_the_result():
    rows = [[4, 1, 3, 2, 6], [7, 7], [2, 5, 1, 1, 6, 3]]
    for partition in ("interests", "random"):
        together = vectors(histories(*rows), partition=partition)
        for b, row in enumerate(rows):
            alone = vectors(histories(row, length=30), partition=partition)
            for name in ("vectors_BKD", "weight_BK", "mask_BK"):
                assert np.array_equal(getattr(alone, name)[0], getattr(together, name)[b])
            assert np.array_equal(alone.assignment_BL[0, :8], together.assignment_BL[b])


def test_the_random_partition_has_as_many_groups_of_equal_size_with_other_members():
    users = histories([1, 4, 2, 5, 3, 6])
    true, control = vectors(users), vectors(users, partition="random")
    assert control.mask_BK.tolist() == true.mask_BK.tolist()
    assert sorted(np.bincount(control.assignment_BL[0, :6])) == [2, 2, 2]
    assert control.assignment_BL.tolist() != true.assignment_BL.tolist()


def test_a_decay_that_leaves_nothing_of_old_clusters_serves_the_newest():
    found = vectors(histories([1, 4, 6]), age_BL=np.array([[200_000, 100_000, 0] + [0] * 5]))
    assert named(found) == [1]
    assert found.weight_BK[0].tolist() == [1, 0, 0]
    long_ago = vectors(histories([7, 1, 4]), age_BL=np.array([[999_900, 100, 0] + [0] * 5]))
    assert named(long_ago) == [1, 4]  # all that is usable is old, and still the interests of this user
