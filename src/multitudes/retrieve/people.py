"""Who asks: users of the release with their stored histories, or somebody described by items and topics.

Legend: B users · L history · F follows.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from multitudes.batches.histories import MAX_FOLLOWS, Histories, event_times, gather
from multitudes.ids import Id
from multitudes.release.release import Release

_STRANGER = -1  # number of somebody who is not in the data


class Asked(NamedTuple):
    """B users with what is known of them."""

    ids: Sequence[Id | None]
    user_B: NDArray[np.int64]  # number in the release, or -1
    histories: Histories
    time_BL: NDArray[np.int64] | None  # of the history events; None where nobody knows them
    seen: list[NDArray[np.int64]]  # item numbers that must not come back
    unknown_items: int = 0
    unknown_topics: int = 0


class People:
    """Looks users up in a release, and reads descriptions of people who are not in it."""

    def __init__(self, release: Release) -> None:
        self._release = release

    def number(self, user_id: Id) -> int | None:
        """Return the number of a user, or None."""
        return self._release.user_number.get(user_id)

    def item_numbers(self, item_ids: Sequence[Id]) -> NDArray[np.int64]:
        """Return the numbers of items, 0 for those that the release does not know."""
        return np.array([self._release.item_names.number(item) for item in item_ids], dtype=np.int64)

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
        )

    def described(self, history: Sequence[Id], follows: Sequence[str], name: Id | None = None) -> Asked:
        """Return one person with that history (newest last) and those followed topics."""
        manifest, length = self._release.manifest, self._release.manifest.history_length
        items = self.item_numbers(history)
        topics = np.array([self._release.topic_number.get(topic, 0) for topic in follows], dtype=np.int64)
        item_L = _padded(items[::-1][:length], length)
        histories = Histories(
            item_BL=item_L[None],
            action_BL=np.where(item_L > 0, manifest.default_action, 0)[None],
            valid_BL=self._release.item_usable[item_L][None],
            follow_BF=_padded(topics[topics > 0][:MAX_FOLLOWS], MAX_FOLLOWS)[None],
            user_feature_BP=np.zeros((1, self._release.user_feature.shape[1]), dtype=np.float32),
        )
        seen = np.unique(items[items > 0])
        unknown = int((items == 0).sum()), int((topics == 0).sum())
        return Asked([name], np.array([_STRANGER]), histories, None, [seen], *unknown)


def _padded(values_M: NDArray[np.int64], width: int) -> NDArray[np.int64]:
    """Return the values with zeros at the end."""
    return np.pad(values_M, (0, width - len(values_M)))
