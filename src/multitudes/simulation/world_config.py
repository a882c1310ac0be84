"""The calendar of a world: day 0 is the first with a feed; before it is the past.

What a simulated world is made of, and why each number is what it is.

*Calibrated* numbers place the world within the range of the public data sets (``python -m benchmarks.simulate``,
docs/simulation.md); a *choice* has no public figure behind it, and says what it is for.
"""

from typing import Any, Self

from pydantic import ConfigDict, Field, model_validator

from multitudes.config import Config
from multitudes.data.planted import START_S
from multitudes.data.timestamps import DAY_S


def day_start_s(day: int) -> int:
    """Return the second at which a day begins, since 1970."""
    return START_S + day * DAY_S


COHORTS = ("core", "casual", "marginal", "resurrected", "new")
PerCohort = tuple[float, float, float, float, float]

# Worlds in which the reason for several vectors, or for explicit ones, is gone: there a lift must vanish.
CONTROLS: dict[str, dict[str, Any]] = {
    "one taste": {"tastes": 1, "taste_life_days": 1e6, "burst_share": 0.0},
    "empty follows": {"informative_follows": 0.0},
}


class WorldConfig(Config):
    """A world: its size, what users like, how often they come, what they do with what they are shown."""

    model_config = ConfigDict(allow_inf_nan=False)

    seed: int = Field(0, ge=0, description="seed of every draw; equal in all arms of a test")
    users: int = Field(20_000, gt=0, le=2**31, description="users; as many as a laptop trains on in minutes; a choice")
    items: int = Field(
        10_000, gt=0, le=2**31, description="items; enough that nobody sees them all in a month; a choice"
    )

    # What there is.
    topics: int = Field(60, gt=0, description="topics that can be followed; 19 (MovieLens) to 304 in the public sets")
    niches: int = Field(
        300,
        gt=0,
        lt=2**15,
        description="groups of items that a taste is for; five to a topic, so that a topic is coarse; a choice",
    )
    niche_skew: float = Field(
        0.3,
        ge=0,
        le=10,
        description="exponent of Zipf's law over niches, for what users like and what there is; calibrated",
    )
    second_topic_share: float = Field(
        0.5,
        ge=0,
        le=1,
        description="items with a second topic, which says nothing; 1 to 4.8 topics an item are public; calibrated",
    )
    featureless_share: float = Field(0.02, ge=0, le=1, description="items without topics and embedding; a choice")
    new_items_share: float = Field(
        0.15, ge=0, le=1, description="items that appear during ``horizon``, evenly; about 0.5 % a day, a choice"
    )
    embedding_width: int = Field(
        0, ge=0, le=4_096, description="width of the item embeddings; 0: none, ids and topics do"
    )
    quality_spread: float = Field(
        0.5, ge=0, le=10, description="standard deviation of the log-odds of a save between items of a niche; a choice"
    )
    popularity_spread: float = Field(
        1.4,
        ge=0,
        le=10,
        description="standard deviation of log popularity, by which items are found without the feed; calibrated",
    )
    quality_popularity: float = Field(
        0.4,
        ge=-1,
        le=1,
        description="correlation of quality and log popularity: what is known is a little better; a choice",
    )

    # What users like.
    tastes: int = Field(
        8, gt=0, le=32, description="niches held for long, half of them with little weight; 1 is a control; calibrated"
    )
    taste_life_days: float = Field(
        365.0, ge=1, description="how long a taste grows and fades, then another takes its place: slow drift; a choice"
    )
    burst_share: float = Field(0.3, ge=0, le=1, description="share of the time with a short-term taste; a choice")
    burst_days: float = Field(7.0, ge=1, description="length of a burst: a trip, a party, a week; a choice")
    burst_weight: float = Field(
        0.4,
        ge=0,
        lt=1,
        description="share of somebody's interest that a burst takes from what they like for long; a choice",
    )
    pair_spread: float = Field(
        0.5,
        ge=0,
        le=10,
        description="standard deviation of the log-odds of a save that is of this user and item alone; a choice",
    )

    # Who they are, in the order core, casual, marginal, resurrected, new.
    cohort_share: PerCohort = Field(
        (0.2, 0.3, 0.3, 0.08, 0.12),
        description="share of the users; a fifth is core, as activity is long-tailed; a choice",
    )
    cohort_visits: PerCohort = Field(
        (0.7, 0.2, 0.06, 0.2, 0.3),
        description="chance of a visit on a day: most days, weekly, twice a month; calibrated",
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
        description="resurrected users did nothing for so long before day 0, and until their return; a choice",
    )

    # What they follow.
    follows: float = Field(
        4.0,
        ge=0,
        le=1_000,
        description="topics that users follow, on average, spread geometrically: a fifth follows none; a choice",
    )
    informative_follows: float = Field(
        0.65,
        ge=0,
        le=1,
        description="share of the follows that is of a long-term taste, each of another; 0 is a control; a choice",
    )
    stale_share: float = Field(
        0.5,
        ge=0,
        le=1,
        description="of the other follows, the share of a taste they had before; the rest is aspirational; a choice",
    )

    # What they do with what they see.
    readiness_spread: float = Field(
        0.9,
        ge=0,
        le=10,
        description="standard deviation of the log of how readily users save; calibrated (history, its tail)",
    )
    loved_odds: float = Field(
        0.3,
        gt=0,
        le=1e6,
        description="odds of a save of an average item by who likes nothing else: good feeds bring a save; a choice",
    )
    unloved_odds: float = Field(
        0.004, gt=0, le=1e6, description="odds of a save of an item of no taste: one in 250; a choice"
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
        description="log-odds that an item has more on its first day; wears off within a week; a choice",
    )
    clicks_per_save: float = Field(
        3.0, ge=0, le=1e6, description="odds of a click in odds of a save; feeds see a few to one; a choice"
    )
    aspiration: float = Field(
        2.0,
        ge=0,
        le=20,
        description="log-odds of a click that an item of an aspirational follow has more, and of a save none; a choice",
    )
    hide_share: float = Field(
        0.01, ge=0, le=1, description="chance that an examined item of no appeal is hidden; a choice"
    )
    depth: float = Field(
        15.0,
        ge=1,
        description="places examined from the top, on average, spread geometrically: position bias; a choice",
    )
    fatigue: float = Field(
        0.5, ge=0, le=1e6, description="odds are divided by 1 + fatigue × impressions before: half after two; a choice"
    )
    saturation: float = Field(
        0.1,
        ge=0,
        le=1e6,
        description="odds are divided by 1 + saturation × items of the niche above in the list; a choice",
    )
    mood_gain: float = Field(
        0.3, ge=0, le=1, description="more visits at the best mood, as a share; fewer at the worst; a choice"
    )
    mood_memory: float = Field(
        0.9, ge=0, le=1, description="mood that is left after a day: half after a week; a choice"
    )
    mood_saves: float = Field(
        0.25,
        ge=0,
        le=1_000,
        description="saves of a visit that leave the mood as it is, as the feed of the calibration brings them",
    )

    # What they do by themselves.
    organic_share: float = Field(
        0.25,
        ge=0,
        le=1,
        description="share of the active days with saves outside of the feed; calibrated (days active)",
    )
    organic_saves: float = Field(
        3.0, ge=1, le=1_000, description="saves on such a day, on average, spread geometrically; calibrated (history)"
    )
    stray_share: float = Field(
        0.1, ge=0, le=1, description="of these, saves that follow no taste, such as a present; a choice"
    )
    return_share: float = Field(
        0.15, ge=0, le=1, description="of these, returns to a favourite of the taste; 0 to 70 % are public; calibrated"
    )
    favourites: int = Field(3, gt=0, le=1_000_000, description="items of a taste that somebody returns to; a choice")

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
