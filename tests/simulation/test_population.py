"""Who comes how often and since when; what follows tell of what is saved, and where they tell nothing."""

import numpy as np
import pytest

from multitudes.simulation.population import ASPIRATIONAL, INFORMATIVE, STALE
from multitudes.simulation.world import CLICK, SAVE
from tests.simulation.worlds import SMALL, everybody, organic, react, small, some_items

CALM = np.zeros(SMALL.users, dtype=np.float32)


def visits(world, days):
    return sum(np.bincount(world.visitors(day, CALM), minlength=world.users) for day in days)


def test_cohorts_have_their_share_and_come_as_often_as_they_do():
    world = small()
    share = np.bincount(world.cohort_U, minlength=5) / world.users
    assert share == pytest.approx(SMALL.cohort_share, abs=0.03)
    often = visits(world, range(30, 60)) / 30  # when all are there
    of_cohort = {name: often[world.cohort_U == number].mean() for number, name in enumerate(world.cohorts)}
    assert of_cohort["core"] > 2 * of_cohort["casual"] > 4 * of_cohort["marginal"]
    assert of_cohort["marginal"] > 0.03
    alike = small(cohort_visits=[0.3] * 5)
    often = visits(alike, range(30, 60)) / 30
    assert np.ptp([often[alike.cohort_U == number].mean() for number in range(5)]) < 0.06


def test_the_new_have_no_past_and_the_resurrected_an_old_one():
    world = small(lapse_days=21)
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


def test_who_is_in_a_good_mood_comes_more_often_and_always_when_they_would_have_come_anyway():
    world = small(mood_gain=0.5)
    calm, glad, sad = (set(world.visitors(3, np.full(world.users, m, dtype=np.float32))) for m in (0, 1, -1))
    assert sad < calm < glad
    unmoved = small(mood_gain=0.0)
    assert set(unmoved.visitors(3, CALM + 1)) == set(unmoved.visitors(3, CALM))


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


def test_follows_are_stale_and_aspirational_at_their_share():
    world = small(informative_follows=0.5, stale_share=0.6, topics=60, niches=120, tastes=16)
    share = np.bincount(world.followed_kind, minlength=3) / len(world.followed_topic)
    assert share[[INFORMATIVE, STALE, ASPIRATIONAL]] == pytest.approx([0.5, 0.3, 0.2], abs=0.04)
    user = np.repeat(everybody(world), np.diff(world.followed_offset))
    niche, _ = world.tastes(0)
    held = (niche[user, :-1] % world.config.topics == world.followed_topic[:, None]).any(axis=1)
    assert held[world.followed_kind == INFORMATIVE].all()
    assert held[world.followed_kind != INFORMATIVE].mean() < 0.35  # 16 of 60 topics


def test_a_fifth_follows_nothing_and_nobody_a_topic_twice():
    world = small(follows=4.0)
    count = np.diff(world.followed_offset)
    assert (count == 0).mean() == pytest.approx(0.2, abs=0.03)
    lists = world.users_table()["followed_topics"].to_list()
    assert all(len(set(topics)) == len(topics) for topics in lists)
    assert [len(topics) for topics in lists] == count.tolist()
    assert len(small(follows=0.0).followed_topic) == 0


def test_aspirational_follows_are_clicked_and_not_saved():
    world = small(aspiration=2.0, depth=1e9, saturation=0.0)
    items = some_items(world, 60)
    hoped = np.zeros((world.users, world.config.topics), dtype=bool)
    user = np.repeat(everybody(world), np.diff(world.followed_offset))
    hoped[user[world.followed_kind == ASPIRATIONAL], world.followed_topic[world.followed_kind == ASPIRATIONAL]] = True
    of = hoped[everybody(world)[:, None], world.topic_I[items]]
    action = react(world, items, appeal=-4.0)
    assert (action[of] == CLICK).mean() > 3 * (action[~of] == CLICK).mean()
    assert (action[of] == SAVE).mean() == pytest.approx((action[~of] == SAVE).mean(), rel=0.15)


def information(world, shuffle=None):
    """Return the mutual information of the topic of a follow and the topic of a save of one user, in nats."""
    user, item = organic(world, -30, 0)
    saved = np.zeros((world.users, world.config.topics))
    np.add.at(saved, (user, world.topic_I[item]), 1)
    followed = np.zeros_like(saved)
    np.add.at(followed, (np.repeat(everybody(world), np.diff(world.followed_offset)), world.followed_topic), 1)
    both = saved.sum(axis=1).astype(bool) & followed.sum(axis=1).astype(bool)
    saved, followed = saved[both], followed[both]
    saved /= saved.sum(axis=1, keepdims=True)
    followed /= followed.sum(axis=1, keepdims=True)
    if shuffle is not None:
        followed = followed[np.random.default_rng(shuffle).permutation(len(followed))]
    joint = saved.T @ followed / len(saved)
    free = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
    return float((joint * np.log(np.maximum(joint, 1e-12) / np.maximum(free, 1e-12))).sum())


def test_follows_tell_of_saves_and_without_informative_ones_nothing():
    telling, empty = small(), small(informative_follows=0.0)
    for world, tells in ((telling, True), (empty, False)):
        chance = [information(world, shuffle) for shuffle in range(8)]
        assert (information(world) > 5 * max(chance)) == tells
    assert information(empty) < max(chance) * 1.2


def test_some_users_save_more_readily_than_others_in_the_feed_and_outside():
    eager, alike = small(readiness_spread=1.0), small(readiness_spread=0.0)
    items = some_items(eager, 30)
    more = eager.appeal(3, everybody(eager), items) - alike.appeal(3, everybody(alike), items)
    assert np.ptp(more, axis=1).max() < 1e-4  # of a user, not of an item
    assert more[:, 0].std() == pytest.approx(1, abs=0.05)
    saved = {world: np.bincount(organic(world, -30, 0)[0], minlength=world.users) for world in (eager, alike)}
    above = more[:, 0] > 0.5
    assert saved[eager][above].mean() > 1.5 * saved[eager][~above].mean()
    assert saved[alike][above].mean() == pytest.approx(saved[alike][~above].mean(), rel=0.2)


def test_who_comes_often_saves_more_outside_of_the_feed_too():
    world = small(cohort_share=[1, 0, 0, 0, 0], cohort_visits=[0.3] * 5, visits_spread=1.0)
    often = visits(world, range(30)) > 9
    saved = np.bincount(organic(world, -30, 0)[0], minlength=world.users)
    assert saved[often].mean() > 1.5 * saved[~often].mean()
