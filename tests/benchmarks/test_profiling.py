from types import SimpleNamespace

import pytest
from benchmarks.profiling import TimedFunction, profile

from benchmarks import profiling


class Clock:
    now = 0.0

    def perf_counter(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(profiling, "time", clock)
    return clock


def kitchen(clock):
    """A meal takes 1 s itself, and cooks (5 s) twice."""

    def cook():
        clock.now += 5

    def meal():
        here.cook()
        clock.now += 1
        here.cook()

    here = SimpleNamespace(cook=cook, meal=meal)
    return here


def test_a_part_is_told_its_own_time_without_that_of_the_parts_inside(clock):
    here = kitchen(clock)
    with profile([TimedFunction("meal", here, "meal"), TimedFunction("cook", here, "cook")]) as stopwatch:
        here.meal()
        clock.now += 9  # nobody's
    assert stopwatch.seconds == {"cook": 10.0, "meal": 1.0}
    assert stopwatch.shares(20.0) == {"cook": 0.5, "meal": 0.05, "rest": 0.45}


def test_what_is_not_watched_counts_for_its_caller(clock):
    here = kitchen(clock)
    with profile([TimedFunction("meal", here, "meal")]) as stopwatch:
        here.meal()
    assert stopwatch.seconds == {"meal": 11.0}


def test_functions_are_as_before_afterwards_inherited_ones_too():
    class Base:
        def act(self):
            return "acted"

    class Heir(Base):
        pass

    own = Base.act
    with profile([TimedFunction("heir", Heir, "act"), TimedFunction("base", Base, "act")]):
        assert Heir().act() == "acted"
        assert Base.act is not own
    assert Base.act is own
    assert "act" not in vars(Heir)


def test_a_part_that_no_longer_exists_is_an_error():
    here = SimpleNamespace()
    with pytest.raises(AttributeError, match="gone"), profile([TimedFunction("gone", here, "gone")]):
        pass


def test_a_part_that_raises_is_timed_and_the_next_one_too(clock):
    def fail():
        clock.now += 2
        raise ValueError("no")

    here = SimpleNamespace(fail=fail)
    with profile([TimedFunction("fail", here, "fail")]) as stopwatch:
        for _ in range(2):
            with pytest.raises(ValueError, match="no"):
                here.fail()
    assert stopwatch.seconds == {"fail": 4.0}
