"""The topics that condition a request, and the topics and interests that it mutes or boosts.

What they change in the shares of the list: ``allocation``.

Legend: B users · F followed topics · C conditions.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from multitudes.release.release import Release
from multitudes.retrieval.request import Request
from multitudes.seeding import GOLDEN_GAMMA, splitmix64, stream_seed


class Preferences(NamedTuple):
    """What one request mutes and boosts, with the numbers of a release."""

    muted_topics: frozenset[int]
    boosted_topics: tuple[int, ...]  # without the muted ones
    unknown_topics: tuple[str, ...]  # topic names that the release does not know
    muted_interests: frozenset[int]
    boosted_interests: frozenset[int]  # without the muted ones

    @classmethod
    def from_request(cls, request: Request, release: Release) -> "Preferences":
        """Return the preferences of a request; what is both muted and boosted is muted."""
        number = release.topic_number
        muted = frozenset(number.get(topic, 0) for topic in request.mute_topics)
        boosted = dict.fromkeys(number.get(topic, 0) for topic in request.boost_topics)
        asked = dict.fromkeys((*request.mute_topics, *request.boost_topics))
        return cls(
            muted - {0},
            tuple(topic for topic in boosted if topic and topic not in muted),
            tuple(topic for topic in asked if topic not in number),
            frozenset(request.mute_interests),
            frozenset(request.boost_interests) - frozenset(request.mute_interests),
        )


def draw_conditions(
    follow_BF: NDArray[np.int64],
    preferences: Sequence[Preferences],
    columns: int,
    drawn: int,
    user_B: NDArray[np.int64],
    request_ids: Sequence[str],
) -> NDArray[np.int64]:
    """Draw the topics that condition each request (B, C), ascending, 0 = none, at the end; never a muted one.

    Boosted ones are drawn before all others.

    The tower has ``columns`` explicit vectors, C, of which up to ``drawn`` are used; see ``draw_topics``.
    """
    first_BF = None
    if any(one.muted_topics or one.boosted_topics for one in preferences):
        follow_BF, first_BF = _apply_preferences(follow_BF, preferences)
    topic_BC, drawn = np.zeros((len(follow_BF), columns), dtype=np.int64), min(columns, drawn)
    if drawn:
        topic_BC[:, :drawn] = draw_topics(follow_BF, drawn, user_B, request_ids, first_BF)
    return topic_BC


def _apply_preferences(
    follow_BF: NDArray[np.int64], preferences: Sequence[Preferences]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return the topics to draw from, and which of them come first."""
    most_boosted = max(len(one.boosted_topics) for one in preferences)
    topic_BF = np.pad(follow_BF, ((0, 0), (0, most_boosted)))
    first_BF = np.zeros(topic_BF.shape, dtype=np.bool_)
    for b, one in enumerate(preferences):
        topic_BF[b, np.isin(topic_BF[b], [*one.muted_topics, *one.boosted_topics])] = 0
        boosted = slice(follow_BF.shape[1], follow_BF.shape[1] + len(one.boosted_topics))
        topic_BF[b, boosted], first_BF[b, boosted] = one.boosted_topics, True
    return topic_BF, first_BF


def draw_topics(
    follow_BF: NDArray[np.int64],
    topics: int,
    user_B: NDArray[np.int64],
    request_id: str | Sequence[str] = "",
    first_BF: NDArray[np.bool_] | None = None,
) -> NDArray[np.int64]:
    """Draw at most ``topics`` distinct followed topics of each user, with equal chances (docs/methods/conditional.md).

    The draw is a function of user (by number; any fixed one for a user without) and request: a request can be replayed,
    and neither the other users of a batch nor the order of the followed topics matter. Those in ``first_BF`` are drawn
    before all others. Of ``follow_BF``, 0 is padding; the result (B, C), C being ``topics``, ascends, 0 is none, at the
    end.
    """
    names = [request_id] * len(user_B) if isinstance(request_id, str) else request_id
    seeds = {name: stream_seed(0, "conditions", name) for name in set(names)}
    base_B = np.array([seeds[name] for name in names], dtype=np.uint64)
    user_key_B = splitmix64(base_B + user_B.astype(np.uint64) + GOLDEN_GAMMA)
    key_BF = splitmix64(user_key_B[:, None] + follow_BF.astype(np.uint64) + GOLDEN_GAMMA)
    key_BF[follow_BF == 0] = np.iinfo(np.uint64).max
    order_BF = np.argsort(key_BF, axis=1) if first_BF is None else np.lexsort((key_BF, ~first_BF), axis=1)
    topic_BC = follow_BF[np.arange(len(follow_BF))[:, None], order_BF[:, :topics]]
    # By number: who follows no more topics than are drawn finds each under the same interest in every answer.
    topic_BC = np.sort(np.where(topic_BC == 0, np.iinfo(np.int64).max, topic_BC), axis=1)
    topic_BC[topic_BC == np.iinfo(np.int64).max] = 0
    missing = topics - topic_BC.shape[1]
    return np.pad(topic_BC, ((0, 0), (0, missing))) if missing > 0 else topic_BC
