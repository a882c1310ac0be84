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
    """Some events of a history, by the numbers of the release."""

    item_L: NDArray[np.int64]
    time_L: NDArray[np.int64]
    action_L: NDArray[np.int64]
    valid_L: NDArray[np.bool_]

    def of(self, chosen: NDArray[Any] | slice) -> "_Past":
        """Return some of the events."""
        return _Past(self.item_L[chosen], self.time_L[chosen], self.action_L[chosen], self.valid_L[chosen])

    def and_then(self, more: "_Past") -> "_Past":
        """Return these events with more behind them."""
        return _Past(
            np.concatenate([self.item_L, more.item_L]),
            np.concatenate([self.time_L, more.time_L]),
            np.concatenate([self.action_L, more.action_L]),
            np.concatenate([self.valid_L, more.valid_L]),
        )


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
        return self._published(user_B)._replace(ids=self._release.user_ids[user_B].to_list())

    def _published(self, user_B: NDArray[np.int64]) -> Asked:
        """Return users of the release by number, without their ids, in arrays that may be written to."""
        release, length = self._release, self._release.manifest.history_length
        end_B = release.event_offset[user_B + 1]
        return Asked(
            ids=[],
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
                seen[b] = np.union1d(seen[b], items)
            if person.follows is not None:
                asked.histories.follow_BF[b], unknown_topics_B[b] = self._follows(person.follows)
        return asked._replace(seen=seen, unknown_items_B=unknown_items_B, unknown_topics_B=unknown_topics_B)

    def _number_of(self, person: Person) -> int:
        number = None if person.forgotten else self.number(person.user_id)
        return _STRANGER if number is None else number

    def _stored(self, user_B: NDArray[np.int64]) -> Asked:
        """Return what the release holds of B users, strangers among them, in arrays that may be written to."""
        if (user_B != _STRANGER).all():
            return self._published(user_B)
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
            known = self._published(user_B[inside])
            arrays: list[NDArray[Any]] = [*histories, time_BL]
            for array, rows in zip(arrays, (*known.histories, known.time_BL), strict=True):
                array[inside] = rows
            for b, items in zip(inside.tolist(), known.seen, strict=True):
                seen[b] = items
        return Asked([], user_B, histories, time_BL, seen, [], [])

    def _join(self, asked: Asked, b: int, events: Sequence[Event]) -> tuple[NDArray[np.int64], int]:
        """Write the joined history of user ``b``; return the items of ``events``, and how many are unknown."""
        assert asked.time_BL is not None
        past = asked.histories
        row = _Past(past.item_BL[b], asked.time_BL[b], past.action_BL[b], past.valid_BL[b])
        stored = row.of(row.action_L > 0).of(slice(None, None, -1))  # oldest first, without padding
        told = self._told(events)
        found = told.of(told.item_L > 0)
        # The release holds the newest of a longer past: what has the time of its oldest comes before it.
        joined = found.of(_new(found, stored)).and_then(stored)
        newest = joined.of(np.argsort(joined.time_L, kind="stable")[::-1][: len(row.item_L)])
        for array, values in zip(row, newest, strict=True):
            array[: len(values)] = values
        return found.item_L, len(events) - len(found.item_L)

    def _told(self, events: Sequence[Event]) -> _Past:
        """Return events by the numbers of the release; the number of an unknown item is 0."""
        _, _, items, times_s, actions = zip(*events, strict=True)
        item_L, default = self.item_numbers(items), self._release.manifest.default_action
        code = {name: self._action_code.get(name or "", default) for name in set(actions)}
        action_L = np.array([code[name] for name in actions], dtype=np.int64)
        valid_L = self._release.item_usable[item_L]
        if not self._negative.isdisjoint(code):
            valid_L &= np.array([name not in self._negative for name in actions])
        return _Past(item_L, np.array(times_s, dtype=np.int64), action_L, valid_L)

    def _follows(self, topics: Sequence[str]) -> tuple[NDArray[np.int64], int]:
        """Return the numbers of followed topics (F), and how many the release does not know."""
        numbers = np.array([self._release.topic_number.get(topic, 0) for topic in topics], dtype=np.int64)
        return _padded(numbers[numbers > 0][:MAX_FOLLOWS], MAX_FOLLOWS), int((numbers == 0).sum())


def _new(told: _Past, stored: _Past) -> NDArray[np.bool_]:
    """Return which of the told events are neither among the stored ones nor told before."""
    keys = stored.and_then(told)[:3]  # all but whether it is valid, which follows from them
    order = np.lexsort(keys)  # stable: of the same events, the first is the stored one, or the one told first
    same = np.ones(len(order), dtype=np.bool_)
    same[:1] = False
    for key in keys:
        same[1:] &= key[order[1:]] == key[order[:-1]]
    new = np.empty(len(order), dtype=np.bool_)
    new[order] = ~same
    return new[len(stored.item_L) :]


def _padded(values_M: NDArray[np.int64], width: int) -> NDArray[np.int64]:
    """Return the values with zeros at the end."""
    return np.pad(values_M, (0, width - len(values_M)))
