"""What is made of the observations of a trial, on observations made by hand."""

from collections import Counter

from reliability.claims import at_least, at_most, at_scale
from reliability.load import NO_ANSWER, Outcome, percentile_ms
from reliability.soak import Sample

from reliability import damage, overload, soak, store, swaps


def test_a_claim_is_shown_only_where_it_holds_and_its_control_does_not():
    assert at_most(0, "lost", 0, "naive", 3).shown
    assert not at_most(0, "lost", 1, "naive", 3).shown
    assert not at_most(0, "lost", 0, "naive", 0).shown, "the trial could not have told"
    assert at_least(0.9, "share", 0.95, "naive", 0.2).shown
    assert not at_least(0.9, "share", 0.95, "naive", 0.9).shown


def test_a_scale_makes_smaller_but_never_nothing():
    assert (at_scale(1_000, 0.5), at_scale(1_000, 0.0001), at_scale(1_000, 0.001, 50)) == (500, 1, 50)


def test_goodput_counts_what_was_answered_in_time_and_the_rest_as_nothing():
    made = [Outcome(0, 0.1, 200), Outcome(0, 0.2, 200, True, "hurry"), Outcome(0, 0.6, 200), Outcome(0, 0.01, 429)]
    found = overload._figures([*made, Outcome(0, 2.0, NO_ANSWER)], seconds=2.0)
    assert (found["in_time_per_s"], found["full_in_time_per_s"]) == (1.0, 0.5)
    assert found["statuses"] == {"200": 3, "429": 1, "0": 1}
    assert found["p99_ms"] > 500, "who was answered late is counted, who was refused is not"
    assert percentile_ms([Outcome(0, 2.0, NO_ANSWER)], 99) == 2_000, "where nobody is answered, nobody was fast"


def test_answers_without_the_store_are_told_by_their_reason():
    without = [
        Outcome(0, 0.1, 200, True, reason)
        for reason in ("the store of user states failed", "the store of user states gave no answer")
    ]
    found = store._figures([*without, Outcome(0, 0.1, 200, True, "to be in time: popular items"), Outcome(0, 0.9, 200)])
    assert (found["with_state"], found["unmarked"], found["late_or_failed"]) == (2, 1, 1)


def test_an_answer_of_two_releases_is_told_from_one_that_is_only_rounded():
    expected: swaps.Scores = {item: float(item) for item in range(20)}
    rounded: swaps.Scores = {item: item + 1e-5 for item in range(20)}
    others: swaps.Scores = {item: float(item - 10) for item in range(10, 30)}
    assert not swaps._is_mixed(rounded, expected)
    assert swaps._is_mixed(expected | {3: 3.5}, expected)
    assert swaps._is_mixed(others, expected)


def test_growth_is_seen_and_a_level_with_noise_is_not():
    level = [Sample(10.0 * n, 200 + n % 2, 50) for n in range(90)]
    growing = [Sample(10.0 * n, 200 + n / 10, 50 + n) for n in range(90)]
    assert abs(soak._slope(level)) < 1 < soak._slope(growing)
    assert soak._more_files(level) == 0 < soak._more_files(growing)
    peaks = [40 * (n % 3) for n in range(90)]
    level, growing = (
        [one._replace(memory_mib=one.memory_mib + peak) for one, peak in zip(samples, peaks, strict=True)]
        for samples in (level, growing)
    )
    assert abs(soak._slope(level)) < 1 < soak._slope(growing), "what is given back after a moment does not count"
    warming = [Sample(10.0 * n, 200 if n > 20 else 100 + 5 * n, 50) for n in range(90)]
    assert abs(soak._slope(warming)) < 1, "what fills at the begin is not judged"


def test_what_is_harmful_is_neither_refused_nor_unchanged():
    outcomes = Counter[tuple[str, damage.Outcome]]()
    outcomes.update({("cut", "refused"): 3, ("cut", "unchanged"): 2, ("cut", "changed"): 1, ("cut", "failed"): 1})
    assert damage._harmful(outcomes) == {("cut", "changed"): 1, ("cut", "failed"): 1}
