"""Segments of users, at their borders."""

import pytest

from multitudes.batches.held_out import held_out
from multitudes.evaluate.segments import DAY_S, user_segments
from tests.evaluate.worlds import prepared

CUT = 100 * DAY_S


def world(tmp_path, days_before_cut, split="time", ordered_only=False):
    """Return a world in which user u was active at these days before the cut, and once at the cut."""
    times = [[*(CUT - int(d * DAY_S) for d in sorted(days, reverse=True)), CUT] for days in days_before_cut]
    past = [[1] * len(days) for days in days_before_cut]
    return prepared(tmp_path, past, [[1]] * len(past), [[1]], times=times, split=split, ordered_only=ordered_only)


def labels(data, name):
    segment = user_segments(data, held_out(data, "test"), "test", core_days=4)[name]
    return [segment.names[label] for label in segment.label_B]


def test_core_users_were_active_on_four_distinct_days_of_the_last_four_weeks(tmp_path):
    core = [1, 9, 17, 28]
    one_too_old = [1, 9, 17, 28.1]
    four_times_on_three_days = [1, 9, 9.5, 10, 40]
    assert labels(world(tmp_path, [core, one_too_old, four_times_on_three_days]), "cohort") == [
        "core",
        "non-core",
        "non-core",
    ]


def test_new_users_have_no_event_before_the_window(tmp_path):
    assert labels(world(tmp_path, [[2], [], [60]]), "cohort") == ["new", "new", "non-core"]


def test_in_a_split_by_user_the_cut_is_the_users_own(tmp_path):
    data = world(tmp_path, [[1, 2, 3, 4], [1, 2, 3, 4]], split="time")
    data.event_time[-1] += 90 * DAY_S  # the second user comes back after three months
    assert labels(data, "cohort") == ["core", "core"]
    data.manifest["config"]["split"] = "user"
    assert labels(data, "cohort") == ["core", "non-core"]


def test_an_order_only_log_has_no_cohorts(tmp_path):
    data = world(tmp_path, [[1]], ordered_only=True)
    assert set(user_segments(data, held_out(data, "test"), "test", 4)) == {"history"}


@pytest.mark.parametrize(
    ("events", "label"), [(0, "0"), (1, "1-9"), (9, "1-9"), (10, "10-49"), (49, "10-49"), (50, "50+")]
)
def test_history_lengths_fall_into_their_class(tmp_path, events, label):
    assert labels(world(tmp_path, [[30] * events]), "history") == [label]
