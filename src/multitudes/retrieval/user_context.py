"""Who asks: users of the release, with what a store of user states knows beyond it, or somebody described.

Legend: B users · L history · F follows · M values of one user.

The vectors of users' last answers, for a moment when there is no time to make them, or nothing to make them from.

They belong to one release: a retriever has its own, and both are gone together.

Who asks, and what can be told of them now: their own past, what is remembered of it, or nothing.
"""

from collections import OrderedDict
from collections.abc import Sequence
from threading import Lock
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from multitudes.batches.histories import MAX_FOLLOWED_TOPICS, Histories, event_times, gather_histories
from multitudes.batches.user_vectors import UserVectors
from multitudes.ids import Id
from multitudes.release.release import Release
from multitudes.retrieval.request import Degradation, Request, Shortfall, time_shortfall
from multitudes.state.protocol import Event, UserState

_NOT_IN_RELEASE = -1  # number of somebody who is not in the data


class UserContext(NamedTuple):
    """B users with what is known of them."""

    user_ids: Sequence[Id | None]
    user_B: NDArray[np.int64]  # number in the release, or -1
    histories: Histories
    time_BL: NDArray[np.int64] | None  # of the history events; None where nobody knows them
    seen: list[NDArray[np.int64]]  # item numbers that must not come back
    unknown_items_B: Sequence[int]  # of the history, which this release does not know
    unknown_topics_B: Sequence[int]  # of the follows


class _EventRows(NamedTuple):
    """Some events of a history, by the numbers of the release."""

    item_L: NDArray[np.int64]
    time_L: NDArray[np.int64]
    action_L: NDArray[np.int64]
    valid_L: NDArray[np.bool_]

    def take(self, chosen: NDArray[Any] | slice) -> "_EventRows":
        """Return some of the events."""
        return _EventRows(self.item_L[chosen], self.time_L[chosen], self.action_L[chosen], self.valid_L[chosen])

    def concat(self, more: "_EventRows") -> "_EventRows":
        """Return these events with more behind them."""
        return _EventRows(
            np.concatenate([self.item_L, more.item_L]),
            np.concatenate([self.time_L, more.time_L]),
            np.concatenate([self.action_L, more.action_L]),
            np.concatenate([self.valid_L, more.valid_L]),
        )


class UserContextBuilder:
    """Looks users up in a release, and reads what others know of people, in the release or not."""

    def __init__(self, release: Release) -> None:
        self._release = release
        manifest = release.manifest
        self._action_code = {name: code for code, name in enumerate(manifest.actions, start=1)}
        self._negative = frozenset(manifest.negative_actions)

    def user_number(self, user_id: Id) -> int | None:
        """Return the number of a user, or None."""
        number = int(self._release.user_numbers.numbers([user_id])[0])
        return number - 1 if number else None

    def item_numbers(self, item_ids: Sequence[Id]) -> NDArray[np.int64]:
        """Return the numbers of items, 0 for those that the release does not know."""
        return self._release.item_names.numbers(item_ids)

    def from_release(self, user_B: NDArray[np.int64]) -> UserContext:
        """Return users of the release by number."""
        return self._release_rows(user_B)._replace(user_ids=self._release.user_ids[user_B].to_list())

    def _release_rows(self, user_B: NDArray[np.int64]) -> UserContext:
        """Return users of the release by number, without their ids, in arrays that may be written to."""
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
        )

    def from_request(
        self, history: Sequence[Id], followed_topics: Sequence[str], user_id: Id | None = None
    ) -> UserContext:
        """Return one person with that history (newest last) and those followed topics."""
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
        seen = np.unique(items[items > 0])
        unknown_items = int((items == 0).sum())
        return UserContext(
            [user_id], np.array([_NOT_IN_RELEASE]), histories, None, [seen], [unknown_items], [unknown_topics]
        )

    def from_states(self, user_states: Sequence[UserState]) -> UserContext:
        """Return users as they are now: what a store knows of each, joined with what the release holds of them.

        Events of both are one history, in which an event of the same item, time and action is the same event. Items
        that the release does not know are counted and take no place. Follows that the store states count alone. Of
        somebody forgotten, nothing of the release is used.
        """
        user_B = np.array([self._release_number(person) for person in user_states], dtype=np.int64)
        asked = self._release_or_empty_rows(user_B)._replace(user_ids=[person.user_id for person in user_states])
        unknown_items_B, unknown_topics_B, seen = [0] * len(user_states), [0] * len(user_states), list(asked.seen)
        for b, person in enumerate(user_states):
            if person.events:
                items, unknown_items_B[b] = self._join_events(asked, b, person.events)
                seen[b] = np.union1d(seen[b], items)
            if person.followed_topics is not None:
                asked.histories.follow_BF[b], unknown_topics_B[b] = self._topic_numbers(person.followed_topics)
        return asked._replace(seen=seen, unknown_items_B=unknown_items_B, unknown_topics_B=unknown_topics_B)

    def _release_number(self, user_state: UserState) -> int:
        number = None if user_state.erased else self.user_number(user_state.user_id)
        return _NOT_IN_RELEASE if number is None else number

    def _release_or_empty_rows(self, user_B: NDArray[np.int64]) -> UserContext:
        """Return what the release holds of B users, strangers among them, in arrays that may be written to."""
        if (user_B != _NOT_IN_RELEASE).all():
            return self._release_rows(user_B)
        release, shape = self._release, (len(user_B), self._release.manifest.history_length)
        histories = Histories(
            item_BL=np.zeros(shape, dtype=np.int64),
            action_BL=np.zeros(shape, dtype=np.int64),
            valid_BL=np.zeros(shape, dtype=np.bool_),
            follow_BF=np.zeros((len(user_B), MAX_FOLLOWED_TOPICS), dtype=np.int64),
            user_feature_BP=np.zeros((len(user_B), release.user_feature.shape[1]), dtype=np.float32),
        )
        time_BL, nothing = np.zeros(shape, dtype=np.int64), np.zeros(0, dtype=np.int64)
        seen = [nothing] * len(user_B)
        inside = np.flatnonzero(user_B != _NOT_IN_RELEASE)
        if len(inside):
            known = self._release_rows(user_B[inside])
            arrays: list[NDArray[Any]] = [*histories, time_BL]
            for array, rows in zip(arrays, (*known.histories, known.time_BL), strict=True):
                array[inside] = rows
            for b, items in zip(inside.tolist(), known.seen, strict=True):
                seen[b] = items
        return UserContext([], user_B, histories, time_BL, seen, [], [])

    def _join_events(self, context: UserContext, b: int, events: Sequence[Event]) -> tuple[NDArray[np.int64], int]:
        """Write the joined history of user ``b``; return the items of ``events``, and how many are unknown."""
        assert context.time_BL is not None
        past = context.histories
        row = _EventRows(past.item_BL[b], context.time_BL[b], past.action_BL[b], past.valid_BL[b])
        stored = row.take(row.action_L > 0).take(slice(None, None, -1))  # oldest first, without padding
        told = self._encode_events(events)
        found = told.take(told.item_L > 0)
        # The release holds the newest of a longer past: what has the time of its oldest comes before it.
        joined = found.take(_is_new(found, stored)).concat(stored)
        newest = joined.take(np.argsort(joined.time_L, kind="stable")[::-1][: len(row.item_L)])
        for array, values in zip(row, newest, strict=True):
            array[: len(values)] = values
        return found.item_L, len(events) - len(found.item_L)

    def _encode_events(self, events: Sequence[Event]) -> _EventRows:
        """Return events by the numbers of the release; the number of an unknown item is 0."""
        _, _, items, times_s, actions = zip(*events, strict=True)
        item_L, default = self.item_numbers(items), self._release.manifest.default_action
        code = {name: self._action_code.get(name or "", default) for name in set(actions)}
        action_L = np.array([code[name] for name in actions], dtype=np.int64)
        valid_L = self._release.item_usable[item_L]
        if not self._negative.isdisjoint(code):
            valid_L &= np.array([name not in self._negative for name in actions])
        return _EventRows(item_L, np.array(times_s, dtype=np.int64), action_L, valid_L)

    def _topic_numbers(self, topics: Sequence[str]) -> tuple[NDArray[np.int64], int]:
        """Return the numbers of followed topics (F), and how many the release does not know."""
        numbers = np.array([self._release.topic_number.get(topic, 0) for topic in topics], dtype=np.int64)
        return _pad(numbers[numbers > 0][:MAX_FOLLOWED_TOPICS], MAX_FOLLOWED_TOPICS), int((numbers == 0).sum())


def _is_new(given: _EventRows, stored: _EventRows) -> NDArray[np.bool_]:
    """Return which of the told events are neither among the stored ones nor told before."""
    keys = stored.concat(given)[:3]  # all but whether it is valid, which follows from them
    order = np.lexsort(keys)  # stable: of the same events, the first is the stored one, or the one told first
    same = np.ones(len(order), dtype=np.bool_)
    same[:1] = False
    for key in keys:
        same[1:] &= key[order[1:]] == key[order[:-1]]
    new = np.empty(len(order), dtype=np.bool_)
    new[order] = ~same
    return new[len(stored.item_L) :]


def _pad(values_M: NDArray[np.int64], width: int) -> NDArray[np.int64]:
    """Return the values with zeros at the end."""
    return np.pad(values_M, (0, width - len(values_M)))


class CachedUser(NamedTuple):
    """One user as of their last answer: who it was, with the history and the seen items, and the vectors."""

    context: UserContext
    vectors: UserVectors


class VectorCache:
    """The users who were answered last, at most ``size``; threads may share it."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._users: OrderedDict[Id, CachedUser] = OrderedDict()
        self._lock = Lock()
        self.hits = self.misses = 0

    def __len__(self) -> int:
        """Return how many users are remembered."""
        return len(self._users)

    def get(self, user_id: Id | None) -> CachedUser | None:
        """Return a user as of their last answer; None: not known any more."""
        with self._lock:
            memory = self._users.get(user_id) if user_id is not None else None
            if memory is None or user_id is None:
                self.misses += 1
                return None
            self.hits += 1
            self._users.move_to_end(user_id)
            return memory

    def put(self, user_id: Id, user: CachedUser) -> None:
        """Remember a user; whoever was answered longest ago makes room."""
        with self._lock:
            self._users[user_id] = user
            self._users.move_to_end(user_id)
            while len(self._users) > self.size:
                self._users.popitem(last=False)

    def remove(self, user_id: Id) -> None:
        """Remember a user no longer."""
        with self._lock:
            self._users.pop(user_id, None)


class ResolvedRequest(NamedTuple):
    """One request with who is behind it."""

    request: Request
    context: UserContext  # one user
    degradation: Degradation  # that is made for it
    shortfalls: tuple[Shortfall, ...] = ()  # why that is less than all
    cached_vectors: UserVectors | None = None  # of the user's last answer, which are used again


def resolve_request(
    builder: UserContextBuilder, request: Request, degradation: Degradation, cache: VectorCache
) -> ResolvedRequest:
    """Find out who asks. Less than asked for is done where nothing is known, or nothing can be."""
    again = degradation == Degradation.CACHED or bool(request.state_error)
    memory = cache.get(request.user_id) if again else None
    if memory is not None:
        last = "the interests of the last answer"
        short = _state_shortfall(request, last) if request.state_error else time_shortfall(last)
        return ResolvedRequest(request, memory.context, max(degradation, Degradation.CACHED), (short,), memory.vectors)
    found = (
        _resolve_anonymous(builder, request, degradation)
        if request.is_anonymous
        else _resolve_user(builder, request, degradation)
    )
    if degradation >= Degradation.CACHED:
        return found._replace(
            degradation=Degradation.POPULAR, shortfalls=found.shortfalls or (time_shortfall("popular items"),)
        )
    if found.degradation == Degradation.FEWER:
        return found._replace(shortfalls=(*found.shortfalls, time_shortfall("only the strongest interests")))
    return found


def _resolve_anonymous(builder: UserContextBuilder, request: Request, degradation: Degradation) -> ResolvedRequest:
    return ResolvedRequest(
        request, builder.from_request(request.history or (), request.followed_topics or ()), degradation
    )


def _resolve_user(builder: UserContextBuilder, request: Request, degradation: Degradation) -> ResolvedRequest:
    assert request.user_id is not None
    if request.user_state is not None:
        asked = builder.from_states([request.user_state])
        known = bool(asked.user_B[0] >= 0 or request.user_state.events or request.user_state.followed_topics)
        return (
            ResolvedRequest(request, asked, degradation)
            if known
            else _resolve_unknown(request, asked, f"nothing is known of user {request.user_id!r}")
        )
    number = builder.user_number(request.user_id)
    if number is None:
        nobody = builder.from_request((), (), user_id=request.user_id)
        return _resolve_unknown(request, nobody, f"user {request.user_id!r} is not in this release")
    stored = builder.from_release(np.array([number]))
    return ResolvedRequest(
        request,
        stored,
        degradation,
        (_state_shortfall(request, "the history as it was published"),) if request.state_error else (),
    )


def _resolve_unknown(request: Request, context: UserContext, reason: str) -> ResolvedRequest:
    instead = "popular items"
    short = _state_shortfall(request, instead) if request.state_error else Shortfall("unknown", f"{reason}: {instead}")
    return ResolvedRequest(request, context, Degradation.POPULAR, (short,))


def _state_shortfall(request: Request, instead: str) -> Shortfall:
    return Shortfall("state", f"{request.state_error}: {instead}")
