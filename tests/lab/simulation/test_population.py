"""The users of a world: activity, follows, and tastes over time."""

import numpy as np
import pytest

from multitudes_lab.simulation import constants
from multitudes_lab.simulation.population import ASPIRATIONAL, INFORMATIVE, STALE
from multitudes_lab.simulation.world import CLICK, SAVE
from tests.lab.simulation.worlds import SMALL, everybody, fixed, organic, react, small, some_items

CALM = np.zeros(SMALL.users, dtype=np.float32)


def visits(world, days):
    return sum(np.bincount(world.visitors(day, CALM), minlength=world.users) for day in days)


def test_cohorts_have_their_share_and_visit_rate():
    world = small()
    share = np.bincount(world.cohort_U, minlength=5) / world.users
    assert share == pytest.approx(constants.COHORT_SHARE, abs=0.03)
    often = visits(world, range(30, 60)) / 30  # when all are there
    of_cohort = {name: often[world.cohort_U == number].mean() for number, name in enumerate(world.cohorts)}
    assert of_cohort["core"] > 2 * of_cohort["casual"] > 4 * of_cohort["marginal"]
    assert of_cohort["marginal"] > 0.03
    with fixed(COHORT_VISITS=[0.3] * 5):
        alike = small()
    often = visits(alike, range(30, 60)) / 30
    assert np.ptp([often[alike.cohort_U == number].mean() for number in range(5)]) < 0.06


def test_new_users_have_no_past_and_resurrected_users_an_old_one():
    world = small()
    number = {name: number for number, name in enumerate(world.cohorts)}
    past = {span: world.cohort_U[organic(world, *span)[0]] for span in ((-60, -21), (-21, 0))}
    assert (past[-60, -21] == number["resurrected"]).any()
    assert not (past[-21, 0] == number["resurrected"]).any()
    for cohorts in past.values():
        assert not (cohorts == number["new"]).any()
        assert (cohorts == number["core"]).any()
    early, late = (visits(world, days) for days in (range(3), range(30, 33)))
    for name in ("new", "resurrected"):
        of = world.cohort_U == number[name]
        assert early[of].sum() < 0.2 * late[of].sum()
    assert not visits(world, range(-5, 0))[world.cohort_U == number["new"]].any()


def test_a_good_mood_adds_visits_and_removes_none():
    world = small()
    calm, glad, sad = (set(world.visitors(3, np.full(world.users, m, dtype=np.float32))) for m in (0, 1, -1))
    assert sad < calm < glad
    with fixed(MOOD_GAIN=0.0):
        assert set(world.visitors(3, CALM + 1)) == set(world.visitors(3, CALM))


def test_the_mood_rises_with_saves_falls_with_hides_and_fades():
    world = small()
    who = np.array([0, 1, 2])
    actions = np.array([[SAVE, SAVE, CLICK], [0, 0, 0], [3, 3, 3]], dtype=np.int8)
    after = world.update_mood(CALM, who, actions)
    assert after[0] > 0 > after[1] > after[2]
    assert (after[3:] == 0).all()
    faded = world.update_mood(after, np.empty(0, dtype=np.int64), np.empty((0, 3), dtype=np.int8))
    assert np.abs(faded[:3]) == pytest.approx(0.9 * np.abs(after[:3]), rel=1e-5)
    for _ in range(200):
        after = world.update_mood(after, who, actions)
    assert np.abs(after).max() <= 1


def test_follows_are_stale_and_aspirational_in_the_configured_shares():
    with fixed(STALE_SHARE=0.6):
        world = small(informative_follows=0.5, topics=60, niches=120, tastes=16)
    share = np.bincount(world.followed_kind, minlength=3) / len(world.followed_topic)
    assert share[[INFORMATIVE, STALE, ASPIRATIONAL]] == pytest.approx([0.5, 0.3, 0.2], abs=0.04)
    user = np.repeat(everybody(world), np.diff(world.followed_offset))
    niche, _ = world.tastes(0)
    held = (niche[user, :-1] % world.config.topics == world.followed_topic[:, None]).any(axis=1)
    assert held[world.followed_kind == INFORMATIVE].all()
    assert held[world.followed_kind != INFORMATIVE].mean() < 0.35  # 16 of 60 topics


def test_a_fifth_follows_nothing_and_no_user_follows_a_topic_twice():
    world = small()
    count = np.diff(world.followed_offset)
    assert (count == 0).mean() == pytest.approx(0.2, abs=0.03)
    lists = world.users_table()["followed_topics"].to_list()
    assert all(len(set(topics)) == len(topics) for topics in lists)
    assert [len(topics) for topics in lists] == count.tolist()
    with fixed(FOLLOWS=0.0):
        assert len(small().followed_topic) == 0


@fixed(SATURATION=0.0)
def test_aspirational_follows_are_clicked_and_not_saved():
    world = small(depth=1e9)
    items = some_items(world, 60)
    hoped = np.zeros((world.users, world.config.topics), dtype=bool)
    user = np.repeat(everybody(world), np.diff(world.followed_offset))
    hoped[user[world.followed_kind == ASPIRATIONAL], world.followed_topic[world.followed_kind == ASPIRATIONAL]] = True
    of = hoped[everybody(world)[:, None], world.topic_I[items]]
    action = react(world, items, appeal=-4.0)
    assert (action[of] == CLICK).mean() > 3 * (action[~of] == CLICK).mean()
    assert (action[of] == SAVE).mean() == pytest.approx((action[~of] == SAVE).mean(), rel=0.15)


def test_some_users_save_more_readily_than_others_in_the_feed_and_outside():
    worlds = []
    for spread in (1.0, 0.0):
        with fixed(READINESS_SPREAD=spread):
            worlds.append(small())
    items = some_items(worlds[0], 30)
    eager, alike = (world.appeal(3, everybody(world), items) for world in worlds)
    more = eager - alike
    assert np.ptp(more, axis=1).max() < 1e-4  # of a user, not of an item
    assert more[:, 0].std() == pytest.approx(1, abs=0.05)
    above = more[:, 0] > 0.5
    eagerly, evenly = (np.bincount(organic(world, -30, 0)[0], minlength=world.users) for world in worlds)
    assert eagerly[above].mean() > 1.5 * eagerly[~above].mean()
    assert evenly[above].mean() == pytest.approx(evenly[~above].mean(), rel=0.2)


STEADY = {"taste_life_days": 1e9, "burst_share": 0.0}
faithful = fixed(STRAY_SHARE=0.0, RETURN_SHARE=0.0)


def as_shares(world, day):
    niche_UK, weight_UK = world.tastes(day)
    share = np.zeros((world.users, world.config.niches))
    np.add.at(share, (np.arange(len(niche_UK))[:, None], niche_UK), weight_UK)
    return share


def overlap(world, day, other):
    """Return the mean overlap of users' tastes on two days."""
    one, two = (as_shares(world, d) for d in (day, other))
    return np.minimum(one, two).sum(axis=1).mean()


@faithful
@fixed(READINESS_SPREAD=0.0)
def test_saves_follow_the_weights_of_the_tastes():
    world = small(**STEADY)
    user, item = organic(world, -60, 0)
    liked = as_shares(world, 0)
    expected = liked[user].sum(axis=0)
    found = np.bincount(world.niche_I[item], minlength=world.config.niches)
    assert found == pytest.approx(expected, rel=0.15)
    assert (liked[user, world.niche_I[item]] > 0).all()


PLAIN = {"QUALITY_SPREAD": 0.0, "PAIR_SPREAD": 0.0, "FRESHNESS": 0.0, "READINESS_SPREAD": 0.0}


@fixed(**PLAIN)
def test_an_item_of_a_taste_appeals_by_its_weight_and_one_of_its_topic_a_little():
    world = small(**STEADY, tastes=1)
    loved = world.tastes(0)[0][:, 0]
    items = some_items(world, 60)
    odds = np.exp(world.appeal(0, everybody(world), items))
    topics, loved_odds = np.asarray(world.topic_I), constants.LOVED_ODDS
    same = world.niche_I[items] == loved[:, None]
    kin = (topics[items] == (loved % world.config.topics)[:, None]) & ~same
    assert odds[same] == pytest.approx(loved_odds + constants.UNLOVED_ODDS, rel=1e-4)
    assert odds[kin] == pytest.approx(constants.KINSHIP * loved_odds + constants.UNLOVED_ODDS, rel=1e-4)
    assert odds[~same & ~kin] == pytest.approx(constants.UNLOVED_ODDS, rel=1e-4)


def test_tastes_drift_slowly():
    world, steady = (small(burst_share=0.0, taste_life_days=days) for days in (200.0, 1e6))
    assert overlap(world, 0, 7) > 0.9
    assert overlap(world, 0, 100) < 0.4
    assert overlap(steady, 0, 100) > 0.99


@faithful
def test_a_burst_is_over_represented_on_its_days_only():
    world, pairs = small(burst_share=0.3), []
    for day in range(-60, 0):
        (niche, weight), done = world.tastes(day), world.organic_actions(day)
        pairs.append((niche[done.user_E, -1] == world.niche_I[done.item_E], weight[done.user_E, -1] > 0))
    in_burst, is_on = np.concatenate(pairs, axis=1)
    assert 0.38 < in_burst[is_on].mean() < 0.5
    assert in_burst[~is_on].mean() < 0.06
    on = np.stack([world.tastes(day)[1][:, -1] > 0 for day in range(100)])
    assert on.mean() == pytest.approx(0.3, abs=0.01)
    assert (on[1:] != on[:-1]).mean() < 2 / constants.BURST_DAYS  # they come in days that hang together
