"""What is counted and timed, for Prometheus: one registry, and a method for each thing that happens."""

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

_METHODS = {"GET", "HEAD", "POST", "PUT", "DELETE"}  # anything else a client makes up has one name
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)


class Measures:
    """The measures of one process."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "multitudes_requests",
            "Requests by route and status.",
            ["route", "method", "status"],
            registry=self._registry,
        )
        self._seconds = Histogram(
            "multitudes_request_seconds", "From head to answer.", ["route"], buckets=_SECONDS, registry=self._registry
        )
        self._shed = Counter(
            "multitudes_shed", "Requests refused because there was no time for them.", registry=self._registry
        )
        self._degraded = Counter(
            "multitudes_degraded", "Answers by less than the full method.", registry=self._registry
        )
        self._unlogged = Counter(
            "multitudes_unlogged", "Answers that could not be written to the log.", registry=self._registry
        )

    def request(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count an answered request."""
        self._requests.labels(route, method if method in _METHODS else "other", str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def shed(self, requests: int) -> None:
        """Count requests that were refused for want of time."""
        self._shed.inc(requests)

    def degraded(self) -> None:
        """Count an answer that was less than it could be."""
        self._degraded.inc()

    def unlogged(self) -> None:
        """Count an answer that the log does not have."""
        self._unlogged.inc()

    def page(self) -> bytes:
        """Return all of it as Prometheus reads it."""
        return generate_latest(self._registry)
