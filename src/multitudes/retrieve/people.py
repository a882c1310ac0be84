"""Who asks: users of the release, with what a store of user states knows beyond it, or somebody described.

Legend: B users · L history · F follows · M values of one user.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from multitudes.batches.histories import MAX_FOLLOWS, Histories, event_times, gather
from multitudes.ids import Id
from multitudes.release.release import Release
from multitudes.state.records import Event, Person

_STRANGER = -1  # number of somebody who is not in the data


class Asked(NamedTuple):
    """B users with what is known of them."""

    ids: Sequence[Id | None]
    user_B: NDArray[np.int64]  # number in the release, or -1
    histories: Histories
    time_BL: NDArray[np.int64] | None  # of the history events; None where nobody knows them
    seen: list[NDArray[np.int64]]  # item numbers that must not come back
    unknown_items_B: Sequence[int]  # of the history, which this release does not know
    unknown_topics_B: Sequence[int]  # of the follows


class _Past(NamedTuple):
    """One event of a history, by the numbers of the release."""

    item: int
    time: int
    action: int
    valid: bool


class People:
    """Looks users up in a release, and reads what others know of people, in the release or not."""

    def __init__(self, release: Release) -> None:
        self._release = release
        manifest = release.manifest
        self._action_code = {name: code for code, name in enumerate(manifest.actions, start=1)}
        self._negative = frozenset(manifest.negative_actions)

    def number(self, user_id: Id) -> int | None:
        """Return the number of a user, or None."""
        number = int(self._release.user_numbers.of([user_id])[0])
        return number - 1 if number else None

    def item_numbers(self, item_ids: Sequence[Id]) -> NDArray[np.int64]:
        """Return the numbers of items, 0 for those that the release does not know."""
        return self._release.item_names.numbers(item_ids)

    def known(self, user_B: NDArray[np.int64]) -> Asked:
        """Return users of the release by number."""
        release, length = self._release, self._release.manifest.history_length
        end_B = release.event_offset[user_B + 1]
        return Asked(
            ids=release.user_ids[user_B].to_list(),
            user_B=user_B,
            histories=gather(release, user_B, end_B, length),
            time_BL=event_times(release.event_time, end_B, length),
            seen=[release.seen(user) for user in user_B.tolist()],
            unknown_items_B=[0] * len(user_B),
            unknown_topics_B=[0] * len(user_B),
        )

    def described(self, history: Sequence[Id], follows: Sequence[str], name: Id | None = None) -> Asked:
        """Return one person with that history (newest last) and those followed topics."""
        manifest, length = self._release.manifest, self._release.manifest.history_length
        items = self.item_numbers(history)
        item_L = _padded(items[::-1][:length], length)
        follow_F, unknown_topics = self._follows(follows)
        histories = Histories(
            item_BL=item_L[None],
            action_BL=np.where(item_L > 0, manifest.default_action, 0)[None],
            valid_BL=self._release.item_usable[item_L][None],
            follow_BF=follow_F[None],
            user_feature_BP=np.zeros((1, self._release.user_feature.shape[1]), dtype=np.float32),
        )
        seen = np.unique(items[items > 0])
        unknown_items = int((items == 0).sum())
        return Asked([name], np.array([_STRANGER]), histories, None, [seen], [unknown_items], [unknown_topics])

    def present(self, persons: Sequence[Person]) -> Asked:
        """Return users as they are now: what a store knows of each, joined with what the release holds of them.

        Events of both are one history, in which an event of the same item, time and action is the same event. Items
        that the release does not know are counted and take no place. Follows that the store states count alone. Of
        somebody forgotten, nothing of the release is used.
        """
        user_B = np.array([self._number_of(person) for person in persons], dtype=np.int64)
        asked = self._stored(user_B)._replace(ids=[person.user_id for person in persons])
        unknown_items_B, unknown_topics_B, seen = [0] * len(persons), [0] * len(persons), list(asked.seen)
        for b, person in enumerate(persons):
            if person.events:
                items, unknown_items_B[b] = self._join(asked, b, person.events)
                seen[b] = np.union1d(seen[b], np.array(items, dtype=np.int64))
            if person.follows is not None:
                asked.histories.follow_BF[b], unknown_topics_B[b] = self._follows(person.follows)
        return asked._replace(seen=seen, unknown_items_B=unknown_items_B, unknown_topics_B=unknown_topics_B)

    def _number_of(self, person: Person) -> int:
        number = None if person.forgotten else self.number(person.user_id)
        return _STRANGER if number is None else number

    def _stored(self, user_B: NDArray[np.int64]) -> Asked:
        """Return what the release holds of B users, strangers among them, in arrays that may be written to."""
        release, shape = self._release, (len(user_B), self._release.manifest.history_length)
        histories = Histories(
            item_BL=np.zeros(shape, dtype=np.int64),
            action_BL=np.zeros(shape, dtype=np.int64),
            valid_BL=np.zeros(shape, dtype=np.bool_),
            follow_BF=np.zeros((len(user_B), MAX_FOLLOWS), dtype=np.int64),
            user_feature_BP=np.zeros((len(user_B), release.user_feature.shape[1]), dtype=np.float32),
        )
        time_BL, nothing = np.zeros(shape, dtype=np.int64), np.zeros(0, dtype=np.int64)
        seen = [nothing] * len(user_B)
        inside = np.flatnonzero(user_B != _STRANGER)
        if len(inside):
            known = self.known(user_B[inside])
            arrays: list[NDArray[Any]] = [*histories, time_BL]
            for array, rows in zip(arrays, (*known.histories, known.time_BL), strict=True):
                array[inside] = rows
            for b, items in zip(inside.tolist(), known.seen, strict=True):
                seen[b] = items
        return Asked([], user_B, histories, time_BL, seen, [], [])

    def _join(self, asked: Asked, b: int, events: Sequence[Event]) -> tuple[list[int], int]:
        """Write the joined history of user ``b``; return the items of ``events``, and how many are unknown."""
        assert asked.time_BL is not None
        past = asked.histories
        arrays: Sequence[NDArray[Any]] = (past.item_BL[b], asked.time_BL[b], past.action_BL[b], past.valid_BL[b])
        rows = zip(*(array.tolist() for array in arrays), strict=True)
        stored = [each for each in map(_Past._make, rows) if each.action > 0][::-1]  # oldest first, without padding
        numbers = self.item_numbers([event.item_id for event in events]).tolist()
        told = [self._past(*pair) for pair in zip(events, numbers, strict=True)]
        found = [each for each in told if each.item > 0]
        same = {each[:3] for each in stored}
        # The release holds the newest of a longer past: what has the time of its oldest comes before it.
        joined = [each for each in dict.fromkeys(found) if each[:3] not in same] + stored
        joined.sort(key=lambda each: each.time)
        newest = joined[::-1][: len(arrays[0])]
        for array, values in zip(arrays, zip(*newest, strict=True), strict=False):
            array[: len(newest)] = values
        return [each.item for each in found], len(told) - len(found)

    def _past(self, event: Event, item: int) -> _Past:
        action = self._action_code.get(event.action or "", self._release.manifest.default_action)
        valid = bool(self._release.item_usable[item]) and event.action not in self._negative
        return _Past(item, event.time_s, action, valid)

    def _follows(self, topics: Sequence[str]) -> tuple[NDArray[np.int64], int]:
        """Return the numbers of followed topics (F), and how many the release does not know."""
        numbers = np.array([self._release.topic_number.get(topic, 0) for topic in topics], dtype=np.int64)
        return _padded(numbers[numbers > 0][:MAX_FOLLOWS], MAX_FOLLOWS), int((numbers == 0).sum())


def _padded(values_M: NDArray[np.int64], width: int) -> NDArray[np.int64]:
    """Return the values with zeros at the end."""
    return np.pad(values_M, (0, width - len(values_M)))
