"""What a user does with a list: how far they look, what they tire of, and what they make of each item.

Legend: B users · S places of the list.
"""

import numpy as np
from numpy.typing import NDArray

from multitudes.simulate import draws
from multitudes.simulate.world_config import WorldConfig

NOTHING, CLICK, SAVE, HIDE = range(4)


def examined(config: WorldConfig, day: int, user_B: NDArray[np.int64], places: int) -> NDArray[np.bool_]:
    """Return which places each user looks at (B, S): the first ones, as deep as the day's patience."""
    patience_B = draws.exponential(config.seed, "depth", day, user_B)
    deep_B = patience_B / -np.log1p(-1 / (config.depth + 1e-9))
    return np.asarray(np.arange(places) <= deep_B[:, None])


def above(niche_BS: NDArray[np.int16]) -> NDArray[np.int64]:
    """Return for each place how many items of its niche stand above it; what is negative is no item."""
    count_BS = np.zeros(niche_BS.shape, dtype=np.int64)
    for place in range(1, niche_BS.shape[1]):
        count_BS[:, place] = np.count_nonzero(niche_BS[:, :place] == niche_BS[:, place : place + 1], axis=1)
    return count_BS


def done(
    config: WorldConfig, draw_BS: NDArray[np.float64], odds_BS: NDArray[np.floating], click_BS: NDArray[np.floating]
) -> NDArray[np.int8]:
    """Return what is done with examined items, of the odds of a save and of a click in odds of a save.

    One draw decides, so that more appeal never makes less of an item in another arm.
    """
    save_BS = odds_BS / (1 + odds_BS)
    more_BS = odds_BS * (1 + click_BS)
    touch_BS = more_BS / (1 + more_BS)
    hide_BS = config.hide_share * (1 - touch_BS) ** 2
    action_BS = np.where(draw_BS >= 1 - hide_BS, np.int8(HIDE), np.int8(NOTHING))
    action_BS[draw_BS < touch_BS] = CLICK
    action_BS[draw_BS < save_BS] = SAVE
    return action_BS
