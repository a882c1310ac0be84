"""Users are never split between batches, and the properties of their events equal those in plain Python."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from multitudes.data.arrays import RaggedArray
from multitudes.data.user_batches import iter_user_batches

# (user, time, item, asked) in the order of the engine: by user and time.
EVENTS = st.lists(
    st.tuples(st.integers(0, 4), st.integers(0, 5), st.integers(0, 3), st.booleans()), min_size=1, max_size=40
).map(lambda events: sorted(events, key=lambda event: event[:2]))


def batches(events, rows):
    """Yield events as the engine does, so many at a time."""
    for start in range(0, len(events), rows):
        user, time, item, asked = (pa.array(column) for column in zip(*events[start : start + rows], strict=True))
        yield pa.record_batch({"number": user, "time": time, "item": item, "asked": asked})


@settings(max_examples=100, deadline=None)
@given(events=EVENTS, rows=st.integers(1, 9))
def test_each_event_has_its_position_among_those_of_its_user(events, rows):
    found = []
    seen_users = []
    for users, columns in iter_user_batches(batches(events, rows)):
        seen_users += users.number_U.tolist()
        first_E = users.first_with_item(columns["item"], columns["asked"])
        user_E = users.per_event(users.number_U)
        told = (user_E, columns["time"], columns["item"], columns["asked"])
        found += list(
            zip(*(c.tolist() for c in (*told, users.position, users.past, users.is_tied, first_E)), strict=True)
        )
    assert seen_users == sorted({user for user, *_ in events})
    assert [event[:4] for event in found] == events
    for n, (user, time, item, asked, place, past, tied, first) in enumerate(found):
        own = [event for event in events if event[0] == user]
        before = [event for event in found[:n] if event[0] == user]
        assert place == len(before)
        assert past == sum(event[1] < time for event in own)
        assert tied == (sum(event[1] == time for event in own) > 1)
        assert first == (asked and not any(event[2] == item and event[3] for event in before))


@pytest.mark.parametrize("rows", [[], [2], [1, 1, 0, 2]])
def test_ragged_rows_are_gathered(rows):
    lists = [[5, 3], [], [4]]
    ragged = RaggedArray(np.array([0, 2, 2, 3]), np.array([5, 3, 4], dtype=np.int32), 6)
    place, value = ragged.gather(np.array(rows, dtype=np.int64))
    found = list(zip(place.tolist(), value.tolist(), strict=True))
    assert found == [(n, v) for n, r in enumerate(rows) for v in lists[r]]
