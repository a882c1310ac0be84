"""A circuit breaker opens after failures in a row, lets one call try after a rest, and closes when it succeeds."""

from multitudes.service.state_guard import BreakerConfig, CircuitBreaker


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_failures_in_a_row_open_it_and_one_success_closes_it():
    clock = Clock()
    breaker = CircuitBreaker(BreakerConfig(failures=2, reset_timeout_s=5), clock)
    for _ in range(3):  # never two in a row
        breaker.record_failure()
        assert breaker.allow()
        breaker.record_success()
    assert not breaker.open
    breaker.record_failure()
    assert breaker.allow()
    breaker.record_failure()
    assert not breaker.allow()
    assert breaker.open
    clock.now_s = 4.9
    assert not breaker.allow()
    clock.now_s = 5
    assert [breaker.allow() for _ in range(3)] == [True, False, False], "one tries for all"
    breaker.record_success()
    assert [breaker.allow() for _ in range(3)] == [True] * 3
    assert not breaker.open


def test_who_tries_in_vain_lets_it_rest_again_and_who_never_reports_does_not_block_it():
    clock = Clock()
    breaker = CircuitBreaker(BreakerConfig(failures=1, reset_timeout_s=5), clock)
    breaker.record_failure()
    clock.now_s = 6
    assert breaker.allow()
    breaker.record_failure()
    clock.now_s = 10.9
    assert not breaker.allow()
    clock.now_s = 11
    assert breaker.allow()  # and is never heard of
    clock.now_s = 15.9
    assert not breaker.allow()
    clock.now_s = 16
    assert breaker.allow()
