"""Draws over users and seeds: coverage where seeds differ, and no price where they do not."""

import numpy as np
import pytest

from multitudes.metrics.bootstrap import (
    Estimates,
    SeedOutcomes,
    bootstrap_ratios,
    bootstrap_users_and_seeds,
    p_value,
    rate_per_seed,
    seed_variance,
)

USERS, WORLDS = 120, 300


def world(rng, n_methods=3, n_seeds=3, of_seeds=0.0, of_interaction=1.0):
    """Return methods of the same true rate 0: users differ, models by chance, and how models meet users."""
    users = rng.normal(0, 1, USERS)
    return [
        SeedOutcomes(users + rng.normal(0, of_seeds, (n_seeds, 1)) + rng.normal(0, of_interaction, (n_seeds, USERS)))
        for _ in range(n_methods)
    ]


def draws(methods, number=0, resamples=300):
    streams = (np.random.default_rng([number, stream]) for stream in (1, 2))
    return bootstrap_users_and_seeds(methods, np.ones(USERS), resamples, *streams)


def over_users(methods, number=0, resamples=300):
    """A control: nothing is known of seeds."""
    mean = np.stack([m.value_SB.mean(axis=0) for m in methods], axis=1)
    return bootstrap_ratios(mean, np.ones_like(mean), resamples, np.random.default_rng([number, 1]))


def resampling_three_seeds(methods, number, resamples=300):
    """The other control: seeds drawn with replacement, as users are."""
    users, rng = over_users(methods, number), np.random.default_rng(number)
    rates = [rate_per_seed(m.value_SB, np.ones(USERS)) for m in methods]
    noise = [r[rng.integers(len(r), size=(resamples, len(r)))].mean(axis=1) - r.mean() for r in rates]
    return Estimates(users.value_M, users.draw_RM + np.stack(noise, axis=1))


def false_alarms(make, **what):
    rng = np.random.default_rng(5)
    found = [make(world(rng, **what), number).difference(0, 1) for number in range(WORLDS)]
    return np.mean([low > 0 or high < 0 for _, low, high in found])


def test_two_equal_methods_differ_one_time_in_twenty_however_much_seeds_matter():
    assert false_alarms(draws, of_seeds=0.5) < 0.08
    assert false_alarms(resampling_three_seeds, of_seeds=0.5) > 0.12
    assert false_alarms(over_users, of_seeds=0.5) > 0.4
    assert 0.01 < false_alarms(draws, of_seeds=0.0) < 0.08


def test_a_planted_difference_is_seen_through_users_seeds_and_interaction():
    rng = np.random.default_rng(1)
    seen = []
    for number in range(40):
        first, *others = world(rng, of_seeds=0.1)
        seen.append(draws([SeedOutcomes(first.value_SB + 0.6), *others], number).difference(0, 1).low > 0)
    assert np.mean(seen) > 0.9


def test_the_variance_of_seeds_leaves_out_the_interaction():
    rng = np.random.default_rng(2)
    found = [
        [seed_variance(world(rng, of_seeds=size)[0].value_SB, np.ones(USERS)) for _ in range(WORLDS)]
        for size in (0.0, 0.5)
    ]
    nothing, quarter = np.mean(found, axis=1)
    assert nothing == pytest.approx(0, abs=0.002)  # the raw variance between seeds would be 1 / USERS = .008
    assert quarter == pytest.approx(0.25, abs=0.06)


def test_another_seed_changes_nothing_for_a_baseline_and_widens_a_trained_method():
    values = world(np.random.default_rng(3), n_methods=1, of_seeds=1.0)[0].value_SB
    as_method = draws([SeedOutcomes(values), SeedOutcomes(values[:1])])
    as_baseline = draws([SeedOutcomes(values), SeedOutcomes(values[:1], "baseline")])
    trained, single, baseline = as_method.interval(0), as_method.interval(1), as_baseline.interval(1)
    assert trained.high - trained.low > 2 * (baseline.high - baseline.low)
    assert single.high - single.low > trained.high - trained.low  # one seed knows less than three
    assert baseline == pytest.approx(over_users([SeedOutcomes(values[:1])]).interval(0))


def test_a_method_with_equal_seeds_has_no_seed_variance_and_does_not_lower_that_of_others():
    first, second = world(np.random.default_rng(8), n_methods=2, of_seeds=1.0)
    fixed = SeedOutcomes(np.tile(first.value_SB[:1], (3, 1)))
    beside = draws([first, second, fixed])
    assert beside.interval(2) == over_users([first, second, fixed]).interval(2)
    alone = draws([first, second], resamples=2000).interval(0)
    again = draws([first, second, fixed], resamples=2000).interval(0)
    assert again.high - again.low == pytest.approx(alone.high - alone.low, rel=0.1)


def test_a_study_of_one_seed_has_intervals_over_users_only():
    methods = [SeedOutcomes(m.value_SB[:1]) for m in world(np.random.default_rng(4))]
    assert draws(methods).interval(0) == over_users(methods).interval(0)


def test_controls_do_not_count_as_separate_models():
    """Six controls of one method would else lend it the certainty of seven."""
    first, second = world(np.random.default_rng(6), n_methods=2, of_seeds=1.0)
    alone = draws([first, second], resamples=2000).interval(0)
    beside = draws([first, second, *[SeedOutcomes(first.value_SB, "control")] * 6], resamples=2000).interval(0)
    copied = draws([first, second, *[first] * 6], resamples=2000).interval(0)
    assert beside.high - beside.low == pytest.approx(alone.high - alone.low, rel=0.15)
    assert copied.high - copied.low < 0.85 * (alone.high - alone.low)


def test_the_p_value_is_below_five_percent_where_the_interval_excludes_zero_and_one_of_equal_outcomes():
    rng = np.random.default_rng(7)
    for centre in np.linspace(1.5, 2.5, 41):
        draw = rng.normal(centre, 1, 999)
        assert (p_value(draw) < 0.05) == (np.quantile(draw, 0.025) > 0) or abs(p_value(draw) - 0.05) < 0.003
    assert p_value(np.zeros(50)) == 1
    assert np.isnan(p_value(np.full(3, np.nan)))
    assert p_value(np.ones(99)) == pytest.approx(2 / 100)
