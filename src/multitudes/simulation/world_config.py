"""The settings of a simulated world and the reason for each number, and the calendar of its days.

What no experiment varies is in ``constants``, which says what *calibrated* and *a choice* mean.
"""

from typing import Any, Self

from pydantic import ConfigDict, Field, model_validator

from multitudes.config import Config
from multitudes.data.planted import START_S
from multitudes.data.timestamps import DAY_S

COHORTS = ("core", "casual", "marginal", "resurrected", "new")
PerCohort = tuple[float, float, float, float, float]

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

    # Size and items.
    topics: int = Field(60, gt=0, description="topics that can be followed; 19 (MovieLens) to 304 in the public sets")
    niches: int = Field(
        300,
        gt=0,
        lt=2**15,
        description="groups of items that tastes are for; five per topic, so that topics are coarse; a choice",
    )
    niche_skew: float = Field(
        0.3,
        ge=0,
        le=10,
        description="exponent of Zipf's law over niches, for tastes and for items; calibrated",
    )
    new_items_share: float = Field(
        0.15,
        ge=0,
        le=1,
        description="share of items that appear during the first 30 days, evenly; about 0.5 % a day; a choice",
    )
    topic_noise: float = Field(
        0.0,
        ge=0,
        le=1,
        description="share of items whose topic is any, not that of their niche; 1: topics tell nothing about tastes",
    )
    embedding_width: int = Field(
        0, ge=0, le=4_096, description="width of the item embeddings; 0: none, only ids and topics"
    )

    # Tastes.
    tastes: int = Field(
        8,
        gt=0,
        le=32,
        description="long-term tastes of a user, half of them with little weight; 1 is a control; calibrated",
    )
    overlap: float = Field(
        0.0,
        ge=0,
        le=1,
        description="share of items that are of the next niche too, and of a user's tastes that are next to another;"
        " 0: no item is loved for two tastes",
    )
    taste_life_days: float = Field(
        365.0,
        ge=1,
        description="days in which a taste grows and fades before another replaces it: slow drift; a choice",
    )
    burst_share: float = Field(0.3, ge=0, le=1, description="share of the time with a short-term taste; a choice")

    # Cohorts, in the order core, casual, marginal, resurrected, new.
    cohort_share: PerCohort = Field(
        (0.2, 0.3, 0.3, 0.08, 0.12),
        description="share of the users; a fifth is core, as activity is long-tailed; a choice",
    )
    cohort_visits: PerCohort = Field(
        (0.7, 0.2, 0.06, 0.2, 0.3),
        description="probability of a visit on a day: most days, weekly, twice a month; calibrated",
    )

    # Followed topics.
    follows: float = Field(
        4.0,
        ge=0,
        le=1_000,
        description="mean number of followed topics, geometrically distributed: a fifth follows none; a choice",
    )
    informative_follows: float = Field(
        0.65,
        ge=0,
        le=1,
        description="share of the follows that match a long-term taste, each another one; 0 is a control; a choice",
    )

    # Reactions to what is shown.
    depth: float = Field(
        15.0,
        ge=1,
        description="mean number of slots examined from the top, geometrically distributed: position bias; a choice",
    )
    fatigue: float = Field(
        0.5, ge=0, le=1e6, description="odds are divided by 1 + fatigue × earlier impressions: half after two; a choice"
    )
    saturation: float = Field(
        0.1,
        ge=0,
        le=1e6,
        description="odds are divided by 1 + saturation × items of the same niche above; a choice",
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
        for name in ("cohort_share", "cohort_visits"):
            if not all(0 <= share <= 1 for share in getattr(self, name)):
                raise ValueError(
                    f"{name} = {list(getattr(self, name))}; expected shares from 0 to 1, one for each of"
                    f" {', '.join(COHORTS)}"
                )
        if abs(sum(self.cohort_share) - 1) > 1e-6:
            raise ValueError(f"cohort_share sums to {sum(self.cohort_share):g}; expected 1")
        return self
