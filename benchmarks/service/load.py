"""Load on a service, from its own process: open-loop requests at a rate, or closed-loop clients."""

from typing import Any

from reliability.connection import run
from reliability.load import closed_loop, open_loop, recommend

from benchmarks.process import pin_to_cores

_PATIENCE_S = 60.0


def send(
    port: int, seconds: float, users: int, n: int, cores: list[int], rate: float = 0, clients: int = 0
) -> dict[str, Any]:
    """Send ``rate`` requests a second at Poisson times, whether earlier ones are answered or not; or one after another.

    Returns:
        The outcomes; at a rate, latency counts from the time at which a request was due.
    """
    requests = recommend(users, n)
    if rate:
        loading = open_loop(port, rate, seconds, requests, _PATIENCE_S)
    else:
        loading = closed_loop(port, clients, lambda now_s: now_s < seconds, requests, _PATIENCE_S)
    with pin_to_cores(set(cores)):
        outcomes = run(loading)
    good = [one for one in outcomes if one.status == 200]
    return {
        "seconds": [one.seconds for one in good],
        "until_s": max((one.due_s + one.seconds for one in outcomes), default=0.0),
        "errors": len(outcomes) - len(good),
        "degraded": sum(one.degraded for one in good),
    }
