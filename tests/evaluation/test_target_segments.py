"""Segments of targets by time: counted by hand, found in a planted world, refused where a log has no times of use."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from multitudes.batches.held_out import first_positions, held_out_users
from multitudes.batches.user_vectors import UserVectors
from multitudes.evaluation.config import EvaluateConfig
from multitudes.evaluation.evaluate import evaluate
from multitudes.evaluation.targets import TARGET_SEGMENTS, TimeSegments
from multitudes.retrieval.config import RetrieveConfig
from tests.evaluation.worlds import FakeRun, prepared

DAY = 86_400
TOPICS = [[1], [1, 2], [2], [3], []]  # of items 1 to 5
# Both histories end before day 100. User 0 met topic 1 on day 80 and topic 2 on day 95; user 1 only topic 3, long ago.
PAST, FUTURE = [[1, 3], [4]], [[2, 5, 4, 2], [4, 1]]
TIMES = [[80 * DAY, 95 * DAY, 100 * DAY, 101 * DAY, 107 * DAY, 108 * DAY], [10 * DAY, 106 * DAY, 106 * DAY + 1]]


def data(folder, split="time", **more):
    return prepared(folder, PAST, FUTURE, TOPICS, times=TIMES, split=split, **more)


def labels(world):
    """Return the part of each target by segmentation, as (user, item) → part."""
    held = held_out_users(world, "test")
    pairs = list(zip(np.repeat(held.user_B, np.diff(held.target_offset)).tolist(), held.target.tolist(), strict=True))
    return {
        name: dict(zip(pairs, [TARGET_SEGMENTS[name][n] if n >= 0 else None for n in label_T], strict=True))
        for name, label_T in TimeSegments(world, "test").labels(held).items()
    }


def test_the_time_of_a_target_is_that_of_its_first_event_in_the_split(tmp_path):
    world = data(tmp_path)
    held = held_out_users(world, "test")
    times = world.event_time[first_positions(world, held, "test")] / DAY
    assert held.target.tolist() == [2, 4, 5, 1, 4]
    assert times.astype(int).tolist() == [100, 107, 101, 106, 106]
    no_target = np.arange(len(world.event_item)) == 2  # the first event of item 2 is no positive one
    later = dataclasses.replace(world, event_weight=np.where(no_target, 0, world.event_weight))
    assert (later.event_time[first_positions(later, held, "test")] / DAY).astype(int).tolist()[0] == 108


def test_a_target_is_within_a_day_or_a_week_of_the_cut_of_all_users_or_later(tmp_path):
    assert labels(data(tmp_path))["horizon"] == {
        (0, 2): "within_day",
        (0, 5): "within_week",  # a day is [0, 24 h)
        (0, 4): "later",
        (1, 1): "within_week",
        (1, 4): "within_week",
    }
    own = labels(data(tmp_path, split="user"))["horizon"]  # user 1's own cut is on day 106
    assert own[1, 4] == own[1, 1] == "within_day"


def test_the_age_of_a_topic_is_that_of_the_newest_event_with_any_topic_of_the_target(tmp_path):
    assert labels(data(tmp_path))["topic_age"] == {
        (0, 2): "topic_recent",  # topic 1 of day 80, topic 2 of day 95
        (0, 4): "topic_never",
        (0, 5): None,  # has no topic
        (1, 4): "topic_earlier",
        (1, 1): "topic_never",
    }


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({}, ("horizon", "topic_age")),
        ({"ordered_only": True}, ()),
        ({"times": [[0, 1, 2, 3, 4, 5], [0, 1, 2]]}, ()),
        ({"split": "leave_one_out"}, ("topic_age",)),
    ],
)
def test_a_log_without_usable_times_leaves_a_segmentation_out(tmp_path, changes, names):
    world = prepared(tmp_path, PAST, FUTURE, TOPICS, **({"times": TIMES, "split": "time"} | changes))
    assert tuple(labels(world)) == names


# A planted world in which recency matters. Items of 20 groups of 15, each group a topic; a user has met four groups one
# after the other and follows a fifth. Of the targets, those within a day are of the newest group, the others of the
# followed one. A run offers the newest group as its interest, the followed one as its topic, and the mean of all four.
GROUPS, SIZE, MET, USERS = 20, 15, 4, 100


class GroupRun(FakeRun):
    """A run whose item vectors are the groups: what it offers is read from histories and followed topics alone."""

    def item_vectors(self):
        group_I = np.concatenate([[0], np.repeat(np.arange(GROUPS), SIZE)])
        vectors = 20 * np.eye(GROUPS, dtype=np.float32)[group_I]
        vectors[0] = 0
        return vectors

    def user_vectors(self, users, _partition="interests"):
        histories, topic_BC, *_ = users
        group_BL = (histories.item_BL - 1) // SIZE
        unit = np.eye(GROUPS, dtype=np.float32)
        means = np.stack(
            [unit[row[known > 0]].mean(axis=0) for row, known in zip(group_BL, histories.item_BL, strict=True)]
        )
        newest, followed = unit[group_BL[:, 0]], unit[topic_BC[:, 0] - 1]
        return UserVectors(
            kinds=("unconditioned", "implicit", "explicit"),
            vectors_BKD=np.stack([means, newest, followed], axis=1),
            weight_BK=np.full((len(means), 3), 1 / 3, dtype=np.float32),
            mask_BK=np.ones((len(means), 3), dtype=np.bool_),
            topic_BK=np.stack([np.zeros(len(means)), np.zeros(len(means)), topic_BC[:, 0]], axis=1).astype(np.int64),
            assignment_BL=np.full(group_BL.shape, -1),
        )


def recency_world(folder, *, shuffled: bool):
    """Return the world; ``shuffled``: the times of each user's targets are dealt to them at random."""
    rng = np.random.default_rng(3)
    past, future, follows, times = [], [], [], []
    for _ in range(USERS):
        *met, followed = rng.choice(GROUPS, size=MET + 1, replace=False)
        picked = {group: 1 + group * SIZE + rng.permutation(SIZE) for group in (*met, followed)}
        past.append(np.concatenate([picked[group][:5] for group in met]).tolist())
        targets = np.concatenate([picked[met[-1]][5:9], picked[followed][:4]])
        when = np.repeat([1000 * DAY, 1020 * DAY], 4) + np.arange(8)
        future.append((rng.permutation(targets) if shuffled else targets).tolist())
        follows.append([int(followed) + 1])
        times.append([*(900 * DAY + 4 * DAY * np.arange(5 * MET)), *when])
    topics = [[group + 1] for group in range(GROUPS) for _ in range(SIZE)]
    return prepared(folder, past, future, topics, follows, times, split="time")


def interest_minus_topic(folder: Path, *, shuffled: bool):
    """Return HR of interests alone less that of followed topics alone, within a day and later, and the segments."""
    run = GroupRun(folder, recency_world(folder, shuffled=shuffled), [])
    config = EvaluateConfig(budgets=(10,), targets="new", baselines="cheap")
    result = evaluate(run, config, RetrieveConfig(unconditioned_share=0.34, explicit_share=0.33)).result
    horizon = result["segments"]["horizon"]
    assert [horizon[part]["targets"] for part in ("within_day", "within_week", "later")] == [4 * USERS, 0, 4 * USERS]
    rates = [horizon[part]["methods"] for part in ("within_day", "later")]
    short, long = (rate["implicit"]["hr@10"]["mean"] - rate["explicit"]["hr@10"]["mean"] for rate in rates)
    return short, long, result["segments"]


def test_interests_pay_in_the_short_term_and_followed_topics_in_the_long_term_where_it_was_planted(tmp_path):
    short, long, segments = interest_minus_topic(tmp_path, shuffled=False)
    assert short > 0.5
    assert long < -0.5
    kinds = [segments["horizon"][part]["minus_unconditioned"] for part in ("within_day", "later")]
    assert kinds[0]["implicit"]["hr@10"]["low"] > 0 > kinds[0]["explicit"]["hr@10"]["high"]
    assert kinds[1]["explicit"]["hr@10"]["low"] > 0 >= kinds[1]["implicit"]["hr@10"]["high"]
    beyond_topics = segments["horizon"]["within_day"]["differences"]["explicit"]  # the run minus topics alone
    assert beyond_topics["hr@10"]["low"] > 0
    targets = {part: found["targets"] for part, found in segments["topic_age"].items()}
    assert targets == {"topic_recent": 0, "topic_earlier": 4 * USERS, "topic_never": 4 * USERS}


def test_with_shuffled_times_the_time_of_a_target_says_nothing(tmp_path):
    short, long, _ = interest_minus_topic(tmp_path, shuffled=True)
    assert abs(short - long) < 0.15
