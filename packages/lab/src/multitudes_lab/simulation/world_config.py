"""The settings of a simulated world and the reason for each number, and the calendar of its days.

What no experiment varies is in ``constants``, which says what *calibrated* and *a choice* mean.
"""

from typing import Annotated, Any, Self

from pydantic import ConfigDict, Field, model_validator

from multitudes.config import Config
from multitudes.data.planted import START_S
from multitudes.data.timestamps import DAY_S

Share = Annotated[float, Field(ge=0, le=1)]

# Worlds in which a claim may fail: without a reason for several vectors, or for explicit ones, a lift must vanish;
# where tastes overlap or topics are not the tastes, it need not hold.
CONTROLS: dict[str, dict[str, Any]] = {
    "one taste": {"tastes": 1, "taste_life_days": 1e6, "burst_share": 0.0},
    "empty follows": {"informative_follows": 0.0},
    "overlapping tastes": {"overlap": 0.5},
    "other topics": {"topic_noise": 1.0},
}


def day_start_s(day: int) -> int:
    """Return the start of a day in seconds since 1970. Day 0 is the first with a feed; negative days are the past."""
    return START_S + day * DAY_S


class WorldConfig(Config):
    """A world: its size, the tastes of its users, their visits, and their reactions to what is shown."""

    model_config = ConfigDict(allow_inf_nan=False)

    seed: int = Field(0, ge=0, description="seed of every draw; the same in all arms of a test")
    users: int = Field(20_000, gt=0, le=2**31, description="users; a laptop trains on so many in minutes; a choice")
    items: int = Field(
        10_000, gt=0, le=2**31, description="items; enough that no user sees them all in a month; a choice"
    )

    # Items.
    topics: int = Field(60, gt=0, description="topics that can be followed; 19 (MovieLens) to 304 in the public sets")
    niches: int = Field(
        300,
        gt=0,
        lt=2**15,
        description="groups of items that tastes are for; five per topic: topics are coarse; a choice",
    )
    topic_noise: Share = Field(
        0.0,
        description="share of items whose topic is any, not that of their niche; 1: topics tell nothing about tastes",
    )

    # Tastes.
    tastes: int = Field(
        8,
        gt=0,
        le=32,
        description="long-term tastes of a user, half of them with little weight; 1 is a control; calibrated",
    )
    overlap: Share = Field(
        0.0,
        description="share of items that are of the next niche too, and of every other taste that is next to another",
    )
    taste_life_days: float = Field(
        365.0,
        ge=1,
        description="days in which a taste grows and fades before another replaces it: slow drift; a choice",
    )
    burst_share: Share = Field(0.3, description="share of the time with a short-term taste; a choice")
    informative_follows: Share = Field(
        0.65,
        description="share of the follows that match a long-term taste, each another one; 0 is a control; a choice",
    )

    # Reactions to what is shown.
    depth: float = Field(
        15.0, ge=1, description="mean number of slots examined from the top, geometric: position bias; a choice"
    )

    @model_validator(mode="after")
    def _check_consistency(self) -> Self:
        if not self.topics <= self.niches <= self.items:
            raise ValueError(
                f"topics = {self.topics}, niches = {self.niches}, items = {self.items}; expected topics <= niches <="
                " items, since every topic has a niche and every niche an item"
            )
        if self.tastes >= self.niches:
            raise ValueError(f"tastes = {self.tastes}, niches = {self.niches}; expected fewer tastes than niches")
        return self
