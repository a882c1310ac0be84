"""The probability that a user returns to an item of their own history.

    p(item i of user u) = s_u · softmax_i(w · x_ui)          over the items of the history
    p(a new item, at place r of the list of new items) = (1 − s_u) · (H(r) − H(r − 1))

x_ui: how often and how long ago the user chose the item, how far that is from the user's usual gap between two events
with it, and how often users return to it at all. s_u, the share of repeats, depends on how many items the user has and
how often they returned. H(r) is the hit rate of r new candidates, a power law. All of it is fitted by likelihood
(``fit``). The features follow work on repeat consumption: recency and frequency (Anderson et al., WWW 2014), gaps and
the items' own repeat rates (Bhagat et al., KDD 2018). Ages and gaps are in events of the user, so that
logs without times and anonymous histories are ranked in the same way.

Legend: B users · M items of all users, flat by user · F features · N places.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from multitudes.config import Config
from multitudes.data.own_items import OwnItems


class RepeatModel(Config):
    """Fitted parameters."""

    item_weights: tuple[float, ...] = Field(description="w, the weights of ``item_features``.")
    share_weights: tuple[float, ...] = Field(description="Logit of s: the weights of ``share_features``.")
    hit_rate: float = Field(gt=0, le=1, description="H(depth): hit rate of popular new items, on first-time targets.")
    depth: int = Field(ge=1, description="Number of candidates of hit_rate.")
    exponent: float = Field(gt=0, le=1, description="H(r) = hit_rate · (r / depth) ^ exponent.")

    def rank(self, own: OwnItems, rate_M: NDArray[np.float32], share: float | None = None) -> "RankedItems":
        """Return the probability of each own item; ``rate_M`` from ``fit.repeat_rates``, ``share`` instead of s."""
        has_items_B = np.diff(own.offset) > 0
        logit_B = share_features(own) @ np.array(self.share_weights)
        log_share_B, log_new_B = -np.logaddexp(0, -logit_B), -np.logaddexp(0, logit_B)
        if share is not None:
            with np.errstate(divide="ignore"):  # log 0 is minus infinity, as it should be
                log_share_B[:], log_new_B[:] = np.log(share), np.log(1 - share)
        log_p_M = log_softmax(item_features(own, rate_M) @ np.array(self.item_weights), own.offset)
        return RankedItems(own.offset, own.item_M, log_p_M + log_share_B[own.rows], np.where(has_items_B, log_new_B, 0))

    def log_place_probabilities(self, n: int) -> NDArray[np.float64]:
        """Return log(H(r) − H(r − 1)) of the places 1 … n of a list of new items (N)."""
        rate = self.hit_rate * (np.arange(n + 1) / self.depth) ** self.exponent
        # Rounding must not exchange places that are nearly equal.
        return np.asarray(np.minimum.accumulate(np.log(np.diff(rate))))


class RankedItems(NamedTuple):
    """The own items of B users with their probabilities."""

    offset: NDArray[np.int64]  # B + 1
    item_M: NDArray[np.int64]
    log_p_M: NDArray[np.float64]  # that the user's next item is this one
    log_new_B: NDArray[np.float64]  # that it is none of them


def item_features(own: OwnItems, rate_M: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the features of the users' own items (M, F).

    log(count) · more than one event · log(1 + age) · |log of (1 + age) / (1 + mean gap)|, 0 after a single event ·
    log repeat rate of the item. Ages and gaps are in events of the user.
    """
    age_M = own.events[own.rows] - own.newest_M
    gap_M = (own.newest_M - own.oldest_M) / np.maximum(own.count_M - 1, 1)
    repeated_M = (own.count_M > 1).astype(np.float64)
    due_M = np.abs(np.log1p(age_M) - np.log1p(gap_M)) * repeated_M
    return np.stack([np.log(own.count_M), repeated_M, np.log1p(age_M), due_M, rate_M.astype(np.float64)], axis=1)


def share_features(own: OwnItems) -> NDArray[np.float64]:
    """Return the features of the share of repeats (B, 3): constant, log(items), log(events per item)."""
    items_B, events_B = np.maximum(np.diff(own.offset), 1), np.maximum(own.events, 1)
    return np.stack([np.ones(len(items_B)), np.log(items_B), np.log(events_B / items_B)], axis=1)


def log_softmax(score_M: NDArray[np.float64], offset: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the log softmax of the scores within each user (M)."""
    size_B = np.diff(offset)
    first, size = offset[:-1][size_B > 0], size_B[size_B > 0]
    if len(first) == 0:
        return score_M
    score_M = score_M - np.repeat(np.maximum.reduceat(score_M, first), size)
    return np.asarray(score_M - np.repeat(np.log(np.add.reduceat(np.exp(score_M), first)), size))
