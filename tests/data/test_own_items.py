"""The items of histories are counted, and further events are added as if they had been there from the start."""

import numpy as np

from multitudes.data.own_items import NO_ITEMS, add_events, group_events, join_users, prepared_items
from tests.evaluation.worlds import prepared


def count_by_hand(histories):
    """Return (user, item, count, newest place, oldest place) by a loop."""
    rows = []
    for user, items in enumerate(histories):
        for item in sorted(set(items)):
            places = [place for place, other in enumerate(items) if other == item]
            rows.append((user, item, len(places), places[-1], places[0]))
    return rows


def rows_of(own):
    columns = (own.rows, own.item_M, own.count_M, own.newest_M, own.oldest_M)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def group(histories):
    user_E = np.repeat(np.arange(len(histories)), [len(items) for items in histories])
    return group_events(
        user_E, np.array([item for items in histories for item in items], dtype=np.int64), len(histories)
    )


def test_groups_of_users_and_of_added_events_are_those_of_a_loop():
    rng = np.random.default_rng(0)
    histories = [rng.integers(1, 8, size).tolist() for size in (0, 1, 20, 0, 7, 0)]
    own = group(histories)
    assert rows_of(own) == count_by_hand(histories)
    assert own.events.tolist() == [len(items) for items in histories]
    rng = np.random.default_rng(1)
    for size in (0, 1, 12):
        before, after = rng.integers(1, 6, 10).tolist(), rng.integers(1, 9, size)
        for own, items in ((group([before]), before), (NO_ITEMS, [])):
            assert rows_of(add_events(own, after)) == count_by_hand([[*items, *after.tolist()]])
    histories = [[1, 2, 1], [], [3], [2, 2]]
    joined = join_users([group(histories[:2]), group(histories[2:])])
    assert rows_of(joined) == count_by_hand(histories)


def test_only_known_items_of_positive_events_before_the_cut_count(tmp_path):
    data = prepared(tmp_path, past=[[1, 2, 1, 3], [2]], future=[[1], [2]], topics=[[1]] * 3)
    data.event_weight[1] = 0  # item 2 of the first user, hidden
    data.event_item[3] = 0  # item 3, unknown
    own = prepared_items(data, np.array([0, 1]), np.array([4, 6]))
    assert rows_of(own) == [(0, 1, 2, 1, 0), (1, 2, 1, 0, 0)]
