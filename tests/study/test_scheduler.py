"""How long the rest takes, guessed from what was seen."""

from multitudes.study.scheduler import expected_seconds, seconds_left

JOINT, PLAIN, TRIAL = ("films", "joint", False), ("films", "plain", False), ("films", "joint", True)


def test_nothing_seen_is_nothing_known():
    assert seconds_left([JOINT], [], [], 2) is None


def test_the_likest_steps_are_the_measure():
    seen = [(JOINT, 10.0), (JOINT, 20.0), (PLAIN, 2.0), (("books", "joint", False), 99.0)]
    assert expected_seconds(JOINT, seen) == 15
    assert expected_seconds(TRIAL, seen) == 15  # a trial of joint is likest to a seed of joint
    assert expected_seconds(("films", "new", False), seen) == (10 + 20 + 2) / 3
    assert expected_seconds(("music", "new", False), [(JOINT, 4.0), (PLAIN, 2.0)]) == 3


def test_two_processes_halve_the_rest_and_what_runs_is_partly_over():
    seen = [(JOINT, 10.0)]
    assert seconds_left([JOINT] * 4, [], seen, 1) == 40
    assert seconds_left([JOINT] * 4, [], seen, 2) == 20
    assert seconds_left([JOINT] * 4, [(JOINT, 6.0)], seen, 1) == 34
    assert seconds_left([JOINT], [(JOINT, 60.0)], seen, 1) == 0  # slower than all before: never below nothing
