"""Load on a service, from its own process: open-loop requests at a rate, or closed-loop clients."""

from typing import Any

from reliability.connection import run
from reliability.load import Outcome, Requests, closed_loop, open_loop, recommend

from benchmarks.service.serving import pin_to_cores

_PATIENCE_S = 60.0


def send_at_rate(port: int, rate: float, seconds: float, users: int, n: int, cores: list[int]) -> dict[str, Any]:
    """Send ``rate`` requests a second at Poisson times, whether earlier ones are answered or not.

    Returns:
        The outcomes; latency counts from the time at which a request was due.
    """
    with pin_to_cores(set(cores)):
        return _outcome_record(run(open_loop(port, rate, seconds, _recommend_requests(users, n), _PATIENCE_S)))


def send_with_clients(port: int, clients: int, seconds: float, users: int, n: int, cores: list[int]) -> dict[str, Any]:
    """Let clients send one request after another (closed loop), and return the outcomes."""
    with pin_to_cores(set(cores)):
        return _outcome_record(
            run(closed_loop(port, clients, lambda now_s: now_s < seconds, _recommend_requests(users, n), _PATIENCE_S))
        )


def _recommend_requests(users: int, n: int) -> Requests:
    return recommend(users, n)


def _outcome_record(outcomes: list[Outcome]) -> dict[str, Any]:
    good = [one for one in outcomes if one.status == 200]
    return {
        "seconds": [one.seconds for one in good],
        "until_s": max((one.due_s + one.seconds for one in outcomes), default=0.0),
        "errors": len(outcomes) - len(good),
        "degraded": sum(one.degraded for one in good),
    }
