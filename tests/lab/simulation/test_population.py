"""The users of a world: activity, follows, and tastes over time."""

import numpy as np
import pytest

from multitudes_lab.simulation import constants
from multitudes_lab.simulation.population import ASPIRATIONAL, INFORMATIVE, STALE
from tests.lab.simulation.worlds import SMALL, everybody, fixed, organic, small

CALM = np.zeros(SMALL.users, dtype=np.float32)


def visits(world, days):
    return sum(np.bincount(world.visitors(day, CALM), minlength=world.users) for day in days)


def test_cohorts_have_their_share_and_visit_rate():
    world = small()
    share = np.bincount(world.cohort_U, minlength=5) / world.users
    assert share == pytest.approx(constants.COHORT_SHARE, abs=0.03)
    often = visits(world, range(30, 60)) / 30  # when all are there
    of_cohort = {name: often[world.cohort_U == number].mean() for number, name in enumerate(constants.COHORTS)}
    assert of_cohort["core"] > 2 * of_cohort["casual"] > 4 * of_cohort["marginal"]
    assert of_cohort["marginal"] > 0.03
    with fixed(COHORT_VISITS=[0.3] * 5):
        alike = small()
    often = visits(alike, range(30, 60)) / 30
    assert np.ptp([often[alike.cohort_U == number].mean() for number in range(5)]) < 0.06


def test_new_users_have_no_past_and_resurrected_users_an_old_one():
    world = small()
    number = {name: number for number, name in enumerate(constants.COHORTS)}
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


faithful = fixed(STRAY_SHARE=0.0, RETURN_SHARE=0.0)


def as_shares(world, day):
    niche_UK, weight_UK = world.tastes(day)
    share = np.zeros((world.users, world.config.niches))
    np.add.at(share, (np.arange(len(niche_UK))[:, None], niche_UK), weight_UK)
    return share


def overlap(world, day, other):
    one, two = (as_shares(world, d) for d in (day, other))
    return np.minimum(one, two).sum(axis=1).mean()


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
