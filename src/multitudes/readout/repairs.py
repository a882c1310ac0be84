"""What is repaired in the tables of an experiment rather than refused: counted, and said in every readout."""

from collections.abc import Mapping

REPAIRS: Mapping[str, str] = {
    "exposures_with_nulls": "exposures without user_id, arm or timestamp: dropped",
    "repeated_exposures": "exposures of a user after the first: the first counts",
    "users_in_two_arms": "users in more than one arm: left out",
    "users_in_two_cohorts": "users in more than one cohort: that of their first exposure counts",
    "missing_covariates": "covariates without a finite number: taken as the mean",
    "users_without_whole_window": "users exposed too late for the whole window: left out",
    "users_exposed_after_the_end": "users exposed after the last outcome: kept, they count as 0",
    "outcomes_with_nulls": "outcomes without user_id, timestamp, metric or a finite value: dropped",
    "future_outcomes": "outcomes more than a day later than now: dropped",
    "negative_outcomes": "outcomes below zero: dropped (--keep-negative keeps them)",
    "credits_without_arm": "rows that credit no arm: dropped",
    "outcomes_of_the_unexposed": "outcomes of users without an arm: left out",
    "outcomes_before_exposure": "outcomes before the user's exposure: no outcomes, covariates at most",
    "outcomes_after_the_window": "outcomes after the window: left out",
}
