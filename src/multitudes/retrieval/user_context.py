"""The user behind a request: their history, followed topics and seen items, as arrays with the numbers of a release.

A known user is read from the release and, where a state store knows more, from their user state. An anonymous user is
described by the request.

Legend: L history · F followed topics · M values of one user · 4 columns of an event: item, time, action, validity.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from multitudes.batches.histories import MAX_TOWER_TOPICS, Histories, event_times, gather_histories, slice_histories
from multitudes.data.own_items import NO_ITEMS, OwnItems, add_events, oldest_first
from multitudes.ids import Id
from multitudes.release.id_mapping import unknown_ids
from multitudes.release.release import Release
from multitudes.state.protocol import Event, UserState

_NOT_IN_RELEASE = -1  # number of a user whom the release does not have


class UserContext(NamedTuple):
    """What is known of a user; the arrays have one row."""

    user_id: Id | None
    user: int  # number in the release, or -1
    histories: Histories
    time_BL: NDArray[np.int64] | None  # of the history events; None where times are unknown
    seen: NDArray[np.int64]  # item numbers that are not returned
    own: OwnItems  # the items of events of positive weight
    unknown_items: tuple[Id, ...] = ()  # items of the history that the release does not know
    unknown_topics: tuple[str, ...] = ()  # followed topics that the release does not know

    @property
    def positives(self) -> NDArray[np.int64]:
        """The items of ``own``, oldest first."""
        return oldest_first(self.own)[0]


class UserContextBuilder:
    """Reads users from a release, from their user states, or from the description in a request."""

    def __init__(self, release: Release) -> None:
        self.release = release
        manifest = release.manifest
        self._action_code = {name: code for code, name in enumerate(manifest.actions, start=1)}
        self._negative_actions = frozenset(manifest.negative_actions)
        self._positive_codes = [self._action_code[name] for name in manifest.positive_actions]

    def from_release_by_id(self, user_ids: Sequence[Id]) -> dict[Id, UserContext]:
        """Return those users that the release has, as it has them."""
        numbers = self.release.user_numbers.numbers(user_ids)
        found = self.from_release((numbers[numbers > 0] - 1).tolist())
        return {user_ids[b]: context for b, context in zip(np.flatnonzero(numbers).tolist(), found, strict=True)}

    def from_release(self, users: Sequence[int]) -> list[UserContext]:
        """Read users of the release by number, into writable arrays."""
        release, length, user_B = self.release, self.release.manifest.history_length, np.array(users, dtype=np.int64)
        end_B = release.event_offset[user_B + 1]
        histories = gather_histories(release, user_B, end_B, length)
        time_BL = event_times(release.event_time, end_B, length)
        ids = release.user_ids[user_B].to_list()
        contexts = []
        for b, (user_id, user) in enumerate(zip(ids, users, strict=True)):
            row = slice(b, b + 1)
            items = release.seen_items(user), release.own_items(user)
            contexts.append(UserContext(user_id, user, slice_histories(histories, row), time_BL[row], *items))
        return contexts

    def from_request(
        self, history: Sequence[Id], followed_topics: Sequence[str], user_id: Id | None = None
    ) -> UserContext:
        """Read a user from a history (newest last) and followed topics."""
        manifest, length = self.release.manifest, self.release.manifest.history_length
        items = self.release.item_names.numbers(history)
        item_L = _pad(items[::-1][:length], length)
        follow_F, unknown_topics = self._topic_numbers(followed_topics)
        histories = Histories(
            item_BL=item_L[None],
            action_BL=np.where(item_L > 0, manifest.default_action, 0)[None],
            valid_BL=self.release.item_usable[item_L][None],
            follow_BF=follow_F[None],
            user_feature_BP=np.zeros((1, self.release.user_feature.shape[1]), dtype=np.float32),
        )
        known = items[items > 0]
        own, unknown = add_events(NO_ITEMS, known), unknown_ids(history, items)
        return UserContext(user_id, _NOT_IN_RELEASE, histories, None, np.unique(known), own, unknown, unknown_topics)

    def from_state(self, state: UserState) -> UserContext:
        """Read a user as they are now: from the release and their user state.

        Events of both form one history; events with the same item, time and action count once. Items that the release
        does not know are counted and left out. Followed topics of the state replace those of the release. Of an erased
        user, nothing of the release is used.
        """
        number = 0 if state.erased else int(self.release.user_numbers.numbers([state.user_id])[0])
        if not number:
            context = self.from_request((), (), state.user_id)
            context = context._replace(time_BL=np.zeros(context.histories.item_BL.shape, dtype=np.int64))
        else:
            (context,) = self.from_release([number - 1])
        if state.events:
            context = self._join_events(context, state.events)
        if state.followed_topics is not None:
            context.histories.follow_BF[0], unknown_topics = self._topic_numbers(state.followed_topics)
            context = context._replace(unknown_topics=unknown_topics)
        return context

    def _join_events(self, context: UserContext, events: Sequence[Event]) -> UserContext:
        """Join events to the history of a user, in its arrays."""
        assert context.time_BL is not None
        item_BL, action_BL, valid_BL, *_ = context.histories
        row = (item_BL[0], context.time_BL[0], action_BL[0], valid_BL[0])
        published_4L = np.stack(row)[:, ::-1]  # oldest first
        published_4L = published_4L[:, published_4L[2] > 0]  # without padding
        recent_4L = self._encode_events(events)
        unknown = unknown_ids([event.item_id for event in events], recent_4L[0])
        recent_4L = recent_4L[:, recent_4L[0] > 0]
        # The release holds only the newest part of a history: an event as old as its oldest one goes before it.
        new_4L = recent_4L[:, _is_new(recent_4L, published_4L)]
        joined_4L = np.concatenate([new_4L, published_4L], axis=1)
        newest_4L = joined_4L[:, np.argsort(joined_4L[1], kind="stable")[::-1][: len(row[0])]]
        for array, values in zip(row, newest_4L, strict=True):
            array[: len(values)] = values
        counts_L = np.isin(new_4L[2], self._positive_codes)
        if published_4L.shape[1] == len(row[0]):
            # An event before the published part of a long history may be in the release already, so it does not count.
            counts_L &= new_4L[1] >= published_4L[1, 0]
        item_L, time_L, *_ = new_4L[:, counts_L]
        return context._replace(
            seen=np.union1d(context.seen, recent_4L[0]),
            own=add_events(context.own, item_L[np.argsort(time_L, kind="stable")]),
            unknown_items=unknown,
        )

    def _encode_events(self, events: Sequence[Event]) -> NDArray[np.int64]:
        """Return events with the numbers of the release (4, L); the number of an unknown item is 0."""
        _, _, items, times_s, actions = zip(*events, strict=True)
        item_L, default = self.release.item_names.numbers(items), self.release.manifest.default_action
        code = {name: self._action_code.get(name or "", default) for name in set(actions)}
        valid_L = self.release.item_usable[item_L]
        if not self._negative_actions.isdisjoint(code):
            valid_L &= np.array([name not in self._negative_actions for name in actions])
        return np.array([item_L, times_s, [code[name] for name in actions], valid_L], dtype=np.int64)

    def _topic_numbers(self, topics: Sequence[str]) -> tuple[NDArray[np.int64], tuple[str, ...]]:
        """Return the numbers of followed topics (F), and those that the release does not know."""
        numbers = np.array([self.release.topic_number.get(topic, 0) for topic in topics], dtype=np.int64)
        return _pad(numbers[numbers > 0][:MAX_TOWER_TOPICS], MAX_TOWER_TOPICS), unknown_ids(topics, numbers)


def _is_new(recent_4L: NDArray[np.int64], published_4L: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return a mask of the recent events that are neither published nor repeats of an earlier recent one."""
    keys = np.concatenate([published_4L, recent_4L], axis=1)[:3]  # without validity, which follows from them
    order = np.lexsort(keys)  # stable: of equal events, the published one or else the earlier recent one is first
    new = np.ones(len(order), dtype=np.bool_)
    new[order[1:]] = (keys[:, order[1:]] != keys[:, order[:-1]]).any(axis=0)
    return new[published_4L.shape[1] :]


def _pad(values_M: NDArray[np.int64], width: int) -> NDArray[np.int64]:
    """Return the values with zeros at the end."""
    return np.pad(values_M, (0, width - len(values_M)))
