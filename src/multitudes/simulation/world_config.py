"""The settings of a simulated world and the reason for each number, and the calendar of its days.

*Calibrated* numbers place the world within the range of the public data sets (``python -m benchmarks.simulate``,
records/simulated-world.md). A *choice* has no public figure behind it; its description says what it is for.
"""

from typing import Any, Self

from pydantic import ConfigDict, Field, model_validator

from multitudes.config import Config
from multitudes.data.planted import START_S
from multitudes.data.timestamps import DAY_S

COHORTS = ("core", "casual", "marginal", "resurrected", "new")
PerCohort = tuple[float, float, float, float, float]

# Worlds without a reason for several vectors, or for explicit ones: a lift must vanish there.
CONTROLS: dict[str, dict[str, Any]] = {
    "one taste": {"tastes": 1, "taste_life_days": 1e6, "burst_share": 0.0},
    "empty follows": {"informative_follows": 0.0},
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
    second_topic_share: float = Field(
        0.5,
        ge=0,
        le=1,
        description="items with a second, uninformative topic; public sets have 1 to 4.8 topics per item; calibrated",
    )
    featureless_share: float = Field(
        0.02, ge=0, le=1, description="share of items without topics and embedding; a choice"
    )
    new_items_share: float = Field(
        0.15,
        ge=0,
        le=1,
        description="share of items that appear during ``horizon``, evenly; about 0.5 % a day; a choice",
    )
    embedding_width: int = Field(
        0, ge=0, le=4_096, description="width of the item embeddings; 0: none, only ids and topics"
    )
    quality_spread: float = Field(
        0.5, ge=0, le=10, description="standard deviation of the log-odds of a save between items of a niche; a choice"
    )
    popularity_spread: float = Field(
        1.4,
        ge=0,
        le=10,
        description="standard deviation of log popularity, by which users find items outside the feed; calibrated",
    )
    quality_popularity: float = Field(
        0.4,
        ge=-1,
        le=1,
        description="correlation of quality and log popularity: popular items are a little better; a choice",
    )

    # Tastes.
    tastes: int = Field(
        8,
        gt=0,
        le=32,
        description="long-term tastes of a user, half of them with little weight; 1 is a control; calibrated",
    )
    taste_life_days: float = Field(
        365.0,
        ge=1,
        description="days in which a taste grows and fades before another replaces it: slow drift; a choice",
    )
    burst_share: float = Field(0.3, ge=0, le=1, description="share of the time with a short-term taste; a choice")
    burst_days: float = Field(7.0, ge=1, description="length of a burst: a trip, a party, a week; a choice")
    burst_weight: float = Field(
        0.4,
        ge=0,
        lt=1,
        description="share of a user's weight that a burst takes from the long-term tastes; a choice",
    )
    pair_spread: float = Field(
        0.5,
        ge=0,
        le=10,
        description="standard deviation of the log-odds of a save that is specific to a user and an item; a choice",
    )

    # Cohorts, in the order core, casual, marginal, resurrected, new.
    cohort_share: PerCohort = Field(
        (0.2, 0.3, 0.3, 0.08, 0.12),
        description="share of the users; a fifth is core, as activity is long-tailed; a choice",
    )
    cohort_visits: PerCohort = Field(
        (0.7, 0.2, 0.06, 0.2, 0.3),
        description="probability of a visit on a day: most days, weekly, twice a month; calibrated",
    )
    visits_spread: float = Field(
        0.6,
        ge=0,
        le=10,
        description="standard deviation of the log-odds of a visit within a cohort; calibrated (days active)",
    )
    horizon: int = Field(
        30,
        gt=0,
        le=36_500,
        description="days over which new and resurrected users arrive and new items appear; a month",
    )
    lapse_days: int = Field(
        21,
        ge=0,
        le=36_500,
        description="days before day 0 in which resurrected users did nothing, as until their return; a choice",
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
    stale_share: float = Field(
        0.5,
        ge=0,
        le=1,
        description="share of the other follows that match a former taste; the rest is aspirational; a choice",
    )

    # Reactions to what is shown.
    readiness_spread: float = Field(
        0.9,
        ge=0,
        le=10,
        description="standard deviation of users' readiness to save, in log-odds; calibrated (history, its tail)",
    )
    loved_odds: float = Field(
        0.3,
        gt=0,
        le=1e6,
        description="odds of a save of an average item by a user of only this taste: good feeds bring saves; a choice",
    )
    unloved_odds: float = Field(
        0.004, gt=0, le=1e6, description="odds of a save of an item that matches no taste: one in 250; a choice"
    )
    kinship: float = Field(
        0.1,
        ge=0,
        le=1,
        description="odds of other items of a taste's topic, as a share of the taste's: topics are coarse; a choice",
    )
    freshness: float = Field(
        0.3,
        ge=-20,
        le=20,
        description="extra log-odds of an item on its first day; wears off within a week; a choice",
    )
    clicks_per_save: float = Field(
        3.0,
        ge=0,
        le=1e6,
        description="odds of a click, in units of the odds of a save; feeds see a few clicks per save; a choice",
    )
    aspiration: float = Field(
        2.0,
        ge=0,
        le=20,
        description="extra log-odds of a click, and not of a save, on items of aspirational follows; a choice",
    )
    hide_share: float = Field(
        0.01, ge=0, le=1, description="probability that an examined item without appeal is hidden; a choice"
    )
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
    mood_gain: float = Field(
        0.3, ge=0, le=1, description="relative increase of visits at the best mood, and decrease at the worst; a choice"
    )
    mood_memory: float = Field(
        0.9, ge=0, le=1, description="share of the mood that is left after a day: half after a week; a choice"
    )
    mood_saves: float = Field(
        0.25,
        ge=0,
        le=1_000,
        description="saves per visit that keep the mood, as many as the calibration feed brings",
    )

    # Saves outside the feed.
    organic_share: float = Field(
        0.25,
        ge=0,
        le=1,
        description="share of the active days with saves outside the feed; calibrated (days active)",
    )
    organic_saves: float = Field(
        3.0,
        ge=1,
        le=1_000,
        description="mean number of saves on such a day, geometrically distributed; calibrated (history)",
    )
    stray_share: float = Field(
        0.1, ge=0, le=1, description="share of these saves that follow no taste, such as a present; a choice"
    )
    return_share: float = Field(
        0.15,
        ge=0,
        le=1,
        description="share of these saves that return to a favourite; public sets have 0 to 70 %; calibrated",
    )
    favourites: int = Field(3, gt=0, le=1_000_000, description="items of a taste that a user returns to; a choice")

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
