"""The numbers of a simulated world that no experiment varies, with their reasons; the others are in ``WorldConfig``.

*Calibrated* numbers place the world within the range of the public data sets (``python -m benchmarks.simulate``,
records/simulated-world.md). A *choice* has no public figure behind it; its comment says what it is for.
"""

# Items.
NICHE_SKEW = 0.3  # exponent of Zipf's law over niches, for tastes and for items; calibrated
NEW_ITEMS_SHARE = 0.15  # of the items appear in the first 30 days, evenly; about 0.5 % a day; a choice
SECOND_TOPIC_SHARE = 0.5  # of the items have a second, uninformative topic; public sets: 1 to 4.8 an item; calibrated
FEATURELESS_SHARE = 0.02  # of the items have no topic; a choice
QUALITY_SPREAD = 0.5  # standard deviation of the log-odds of a save between items of a niche; a choice
POPULARITY_SPREAD = 1.4  # the same of log popularity, by which users find items outside the feed; calibrated
QUALITY_POPULARITY = 0.4  # correlation of quality and log popularity: popular items are a little better; a choice

# Tastes.
BURST_DAYS = 7.0  # length of a burst: a trip, a party, a week; a choice
BURST_WEIGHT = 0.4  # share of a user's weight that a burst takes from the long-term tastes; a choice
PAIR_SPREAD = 0.5  # standard deviation of the log-odds of a save that is specific to a user and an item; a choice

# Users.
COHORTS = ("core", "casual", "marginal", "resurrected", "new")
COHORT_SHARE = (0.2, 0.3, 0.3, 0.08, 0.12)  # of the users; a fifth is core, as activity is long-tailed; a choice
COHORT_VISITS = (0.7, 0.2, 0.06, 0.2, 0.3)  # probability of a visit on a day: most days, weekly, …; calibrated
VISITS_SPREAD = 0.6  # standard deviation of the log-odds of a visit within a cohort; calibrated (days active)
READINESS_SPREAD = 0.9  # the same of users' readiness to save; calibrated (history, its tail)
HORIZON = 30  # days over which new and resurrected users arrive and new items appear; a month
LAPSE_DAYS = 21  # days before day 0 in which resurrected users did nothing; a choice
FOLLOWS = 4.0  # mean number of followed topics, geometric: a fifth follows none; a choice
STALE_SHARE = 0.5  # of the uninformative follows match a former taste; the others are aspirational; a choice

# Reactions to what is shown.
FATIGUE = 0.5  # the odds of a save are divided by 1 + this × earlier impressions: half after two; a choice
SATURATION = 0.1  # they are divided by 1 + this × items of the same niche above; a choice
LOVED_ODDS = 0.3  # of a save of an average item by a user of only this taste: good feeds bring saves; a choice
UNLOVED_ODDS = 0.004  # of a save of an item that matches no taste: one in 250; a choice
KINSHIP = 0.1  # odds of other items of a taste's topic, as a share of the taste's: topics are coarse; a choice
FRESHNESS = 0.3  # extra log-odds of an item on its first day; wears off within a week; a choice
CLICKS_PER_SAVE = 3.0  # odds of a click by the odds of a save; feeds see a few clicks per save; a choice
ASPIRATION = 2.0  # extra log-odds of a click, and not of a save, on items of aspirational follows; a choice
HIDE_SHARE = 0.01  # probability that an examined item without appeal is hidden; a choice
MOOD_GAIN = 0.3  # relative increase of visits at the best mood, and decrease at the worst; a choice
MOOD_MEMORY = 0.9  # share of the mood that is left after a day: half after a week; a choice
MOOD_SAVES = 0.25  # saves per visit that keep the mood, as many as the calibration feed brings

# Saves outside the feed.
ORGANIC_SHARE = 0.25  # of the active days have them; calibrated (days active)
ORGANIC_SAVES = 3.0  # their mean number on such a day, geometrically distributed; calibrated (history)
STRAY_SHARE = 0.1  # of them follow no taste, such as a present; a choice
RETURN_SHARE = 0.15  # of them return to a favourite; public sets have 0 to 70 %; calibrated
FAVOURITES = 3  # items of a taste that a user returns to; a choice
