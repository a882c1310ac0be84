"""The user behind a request: their history, followed topics and seen items, as arrays with the numbers of a release.

A known user is read from the release and, where a state store knows more, from their user state. An anonymous user is
described by the request.

Legend: B users · L history · F followed topics · M values of one user.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from multitudes.batches.histories import MAX_TOWER_TOPICS, Histories, event_times, gather_histories
from multitudes.data.own_items import NO_ITEMS, OwnItems, add_events, oldest_first
from multitudes.ids import Id
from multitudes.release.release import Release
from multitudes.state.protocol import Event, UserState

_NOT_IN_RELEASE = -1  # number of a user whom the release does not have


class UserContext(NamedTuple):
    """What is known of B users."""

    user_ids: Sequence[Id | None]
    user_B: NDArray[np.int64]  # number in the release, or -1
    histories: Histories
    time_BL: NDArray[np.int64] | None  # of the history events; None where times are unknown
    seen: list[NDArray[np.int64]]  # of each user, item numbers that are not returned
    unknown_items_B: Sequence[int]  # items of the history that the release does not know
    unknown_topics_B: Sequence[int]  # followed topics that the release does not know
    own: Sequence[OwnItems]  # of each user, the items of events of positive weight

    def positives(self, users: slice = slice(None)) -> list[NDArray[np.int64]]:
        """Return the items of ``own`` of some of the users, oldest first."""
        return [items for own in self.own[users] for items in oldest_first(own)]


class UserContextBuilder:
    """Reads users from a release, from their user states, or from the description in a request."""

    def __init__(self, release: Release) -> None:
        self._release = release
        manifest = release.manifest
        self._action_code = {name: code for code, name in enumerate(manifest.actions, start=1)}
        self._negative_actions = frozenset(manifest.negative_actions)
        self._positive_codes = frozenset(self._action_code[name] for name in manifest.positive_actions)

    def user_number(self, user_id: Id) -> int | None:
        """Return the number of a user, or None if the release does not have them."""
        number = int(self._release.user_numbers.numbers([user_id])[0])
        return number - 1 if number else None

    def item_numbers(self, item_ids: Sequence[Id]) -> NDArray[np.int64]:
        """Return the numbers of items, 0 for those that the release does not know."""
        return self._release.item_names.numbers(item_ids)

    def from_release(self, user_B: NDArray[np.int64]) -> UserContext:
        """Read users of the release by number."""
        return self._release_rows(user_B)._replace(user_ids=self._release.user_ids[user_B].to_list())

    def from_request(
        self, history: Sequence[Id], followed_topics: Sequence[str], user_id: Id | None = None
    ) -> UserContext:
        """Read one user from a history (newest last) and followed topics."""
        manifest, length = self._release.manifest, self._release.manifest.history_length
        items = self.item_numbers(history)
        item_L = _pad(items[::-1][:length], length)
        follow_F, unknown_topics = self._topic_numbers(followed_topics)
        histories = Histories(
            item_BL=item_L[None],
            action_BL=np.where(item_L > 0, manifest.default_action, 0)[None],
            valid_BL=self._release.item_usable[item_L][None],
            follow_BF=follow_F[None],
            user_feature_BP=np.zeros((1, self._release.user_feature.shape[1]), dtype=np.float32),
        )
        return UserContext(
            user_ids=[user_id],
            user_B=np.array([_NOT_IN_RELEASE]),
            histories=histories,
            time_BL=None,
            seen=[np.unique(items[items > 0])],
            unknown_items_B=[int((items == 0).sum())],
            unknown_topics_B=[unknown_topics],
            own=[add_events(NO_ITEMS, items[items > 0])],
        )

    def from_states(self, user_states: Sequence[UserState]) -> UserContext:
        """Read users as they are now: from the release and their user states.

        Events of both form one history; events with the same item, time and action count once. Items that the release
        does not know are counted and left out. Followed topics of the state replace those of the release. Of an erased
        user, nothing of the release is used.
        """
        user_B = np.array([self._release_number(state) for state in user_states], dtype=np.int64)
        context = self._release_or_empty_rows(user_B)._replace(user_ids=[state.user_id for state in user_states])
        unknown_items_B, unknown_topics_B = [0] * len(user_states), [0] * len(user_states)
        seen, own = list(context.seen), list(context.own)
        for b, state in enumerate(user_states):
            if state.events:
                joined = self._join_events(context, b, state.events)
                seen[b], unknown_items_B[b] = np.union1d(seen[b], joined.item_L), joined.unknown
                own[b] = add_events(own[b], joined.added_item_L)
            if state.followed_topics is not None:
                context.histories.follow_BF[b], unknown_topics_B[b] = self._topic_numbers(state.followed_topics)
        return context._replace(seen=seen, own=own, unknown_items_B=unknown_items_B, unknown_topics_B=unknown_topics_B)

    def _release_number(self, user_state: UserState) -> int:
        number = None if user_state.erased else self.user_number(user_state.user_id)
        return _NOT_IN_RELEASE if number is None else number

    def _release_rows(self, user_B: NDArray[np.int64]) -> UserContext:
        """Read users of the release by number, without their ids, into writable arrays."""
        release, length = self._release, self._release.manifest.history_length
        end_B = release.event_offset[user_B + 1]
        return UserContext(
            user_ids=[],
            user_B=user_B,
            histories=gather_histories(release, user_B, end_B, length),
            time_BL=event_times(release.event_time, end_B, length),
            seen=[release.seen_items(user) for user in user_B.tolist()],
            unknown_items_B=[0] * len(user_B),
            unknown_topics_B=[0] * len(user_B),
            own=[release.own_items(user) for user in user_B.tolist()],
        )

    def _release_or_empty_rows(self, user_B: NDArray[np.int64]) -> UserContext:
        """Read users of the release into writable arrays; the rows of other users are empty."""
        if (user_B != _NOT_IN_RELEASE).all():
            return self._release_rows(user_B)
        release, shape = self._release, (len(user_B), self._release.manifest.history_length)
        histories = Histories(
            item_BL=np.zeros(shape, dtype=np.int64),
            action_BL=np.zeros(shape, dtype=np.int64),
            valid_BL=np.zeros(shape, dtype=np.bool_),
            follow_BF=np.zeros((len(user_B), MAX_TOWER_TOPICS), dtype=np.int64),
            user_feature_BP=np.zeros((len(user_B), release.user_feature.shape[1]), dtype=np.float32),
        )
        time_BL, no_items = np.zeros(shape, dtype=np.int64), np.zeros(0, dtype=np.int64)
        seen, own = [no_items] * len(user_B), [NO_ITEMS] * len(user_B)
        in_release = np.flatnonzero(user_B != _NOT_IN_RELEASE)
        if len(in_release):
            known = self._release_rows(user_B[in_release])
            arrays: list[NDArray[Any]] = [*histories, time_BL]
            for array, rows in zip(arrays, (*known.histories, known.time_BL), strict=True):
                array[in_release] = rows
            for b, items in zip(in_release.tolist(), known.seen, strict=True):
                seen[b] = items
            for b, own_of_user in zip(in_release.tolist(), known.own, strict=True):
                own[b] = own_of_user
        return UserContext([], user_B, histories, time_BL, seen, [], [], own)

    def _join_events(self, context: UserContext, b: int, events: Sequence[Event]) -> "_JoinedEvents":
        """Write the joined history of user ``b``."""
        assert context.time_BL is not None
        histories = context.histories
        row = _EventRows(histories.item_BL[b], context.time_BL[b], histories.action_BL[b], histories.valid_BL[b])
        published = row.take(row.action_L > 0).take(slice(None, None, -1))  # oldest first, without padding
        recent = self._encode_events(events)
        recent = recent.take(recent.item_L > 0)
        # The release holds only the newest part of a history: an event as old as its oldest one goes before it.
        new = recent.take(_is_new(recent, published))
        joined = new.concat(published)
        newest = joined.take(np.argsort(joined.time_L, kind="stable")[::-1][: len(row.item_L)])
        for array, values in zip(row, newest, strict=True):
            array[: len(values)] = values
        return _JoinedEvents(recent.item_L, len(events) - len(recent.item_L), self._added_items(new, published, row))

    def _added_items(self, new: "_EventRows", published: "_EventRows", row: "_EventRows") -> NDArray[np.int64]:
        """Return the items of new events of positive weight, oldest first.

        An event before the published part of a long history may be in the release already, so it does not count.
        """
        counts_L = np.isin(new.action_L, list(self._positive_codes))
        if 0 < len(published.time_L) == len(row.item_L):
            counts_L &= new.time_L >= published.time_L[0]
        added = new.take(counts_L)
        return added.item_L[np.argsort(added.time_L, kind="stable")]

    def _encode_events(self, events: Sequence[Event]) -> "_EventRows":
        """Return events with the numbers of the release; the number of an unknown item is 0."""
        _, _, items, times_s, actions = zip(*events, strict=True)
        item_L, default = self.item_numbers(items), self._release.manifest.default_action
        code = {name: self._action_code.get(name or "", default) for name in set(actions)}
        action_L = np.array([code[name] for name in actions], dtype=np.int64)
        valid_L = self._release.item_usable[item_L]
        if not self._negative_actions.isdisjoint(code):
            valid_L &= np.array([name not in self._negative_actions for name in actions])
        return _EventRows(item_L, np.array(times_s, dtype=np.int64), action_L, valid_L)

    def _topic_numbers(self, topics: Sequence[str]) -> tuple[NDArray[np.int64], int]:
        """Return the numbers of followed topics (F), and how many the release does not know."""
        numbers = np.array([self._release.topic_number.get(topic, 0) for topic in topics], dtype=np.int64)
        return _pad(numbers[numbers > 0][:MAX_TOWER_TOPICS], MAX_TOWER_TOPICS), int((numbers == 0).sum())


class _JoinedEvents(NamedTuple):
    """The events of a user state that were joined to a published history."""

    item_L: NDArray[np.int64]  # of all known items
    unknown: int  # events with an item that the release does not know
    added_item_L: NDArray[np.int64]  # of the new events of positive weight, oldest first


class _EventRows(NamedTuple):
    """Some events of a history, with the numbers of the release."""

    item_L: NDArray[np.int64]
    time_L: NDArray[np.int64]
    action_L: NDArray[np.int64]
    valid_L: NDArray[np.bool_]

    def take(self, rows: NDArray[Any] | slice) -> "_EventRows":
        """Return some of the events."""
        return _EventRows(self.item_L[rows], self.time_L[rows], self.action_L[rows], self.valid_L[rows])

    def concat(self, other: "_EventRows") -> "_EventRows":
        """Return these events followed by others."""
        return _EventRows(
            np.concatenate([self.item_L, other.item_L]),
            np.concatenate([self.time_L, other.time_L]),
            np.concatenate([self.action_L, other.action_L]),
            np.concatenate([self.valid_L, other.valid_L]),
        )


def _is_new(recent: _EventRows, published: _EventRows) -> NDArray[np.bool_]:
    """Return a mask of the recent events that are neither published nor repeats of an earlier recent one."""
    keys = published.concat(recent)[:3]  # without valid_L, which follows from them
    order = np.lexsort(keys)  # stable: of equal events, the published one or else the earlier recent one is first
    repeated = np.ones(len(order), dtype=np.bool_)
    repeated[:1] = False
    for key in keys:
        repeated[1:] &= key[order[1:]] == key[order[:-1]]
    new = np.empty(len(order), dtype=np.bool_)
    new[order] = ~repeated
    return new[len(published.item_L) :]


def _pad(values_M: NDArray[np.int64], width: int) -> NDArray[np.int64]:
    """Return the values with zeros at the end."""
    return np.pad(values_M, (0, width - len(values_M)))
