"""Checks of a running service from outside: what a client sees, with a key and without."""

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import urlsplit
from uuid import uuid4

if TYPE_CHECKING:
    import httpx

    from multitudes.retrieval.inspection import Finding, Level

_LOOPBACK: Final = {"127.0.0.1", "localhost", "::1"}
_N_REQUESTS: Final = 10
_TIMEOUT_S: Final = 10.0
_MAX_SKEW_S: Final = 5.0  # the Date header counts whole seconds
_MAX_AGE_DAYS: Final = 30


class HttpResponse(NamedTuple):
    """A response of the service, or status 0 if there was none."""

    status: int
    record: Any  # the body as JSON; None if it is not JSON
    text: str
    date: str | None
    seconds: float

    @property
    def message(self) -> str:
        """The error message of the service, or the status if it sent none."""
        error = self.record.get("error") if isinstance(self.record, dict) else None
        return str(error["message"]) if isinstance(error, dict) else f"status {self.status}"


class ServiceProbe:
    """Sends requests to one service, with or without a key; each has a timeout."""

    def __init__(self, url: str, key: str | None, transport: "httpx.BaseTransport | None" = None) -> None:
        """Open a connection pool; nothing is sent yet.

        Args:
            url: of the service.
            key: API key; None: without.
            transport: replaces the network in tests.

        Raises:
            UsageError: the URL or the key is malformed.
        """
        import httpx

        from multitudes.client.calls import bearer_header
        from multitudes.errors import UsageError

        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise UsageError(f"--url {url}: expected the address of a service, such as http://127.0.0.1:8000")
        self.tls, self.is_local, self.has_key = parts.scheme == "https", parts.hostname in _LOOPBACK, key is not None
        self._auth_headers = {} if key is None else {"authorization": bearer_header(key)}
        self._http = httpx.Client(base_url=url, transport=transport, timeout=_TIMEOUT_S)

    def request(self, path: str, body: dict[str, Any] | None = None, *, send_key: bool = True) -> HttpResponse:
        """Send a GET, or a POST with a JSON body; without a response, the status is 0 and the text says why."""
        import httpx

        headers = self._auth_headers if send_key else {}
        start_s = perf_counter()
        try:
            response = self._http.request("GET" if body is None else "POST", path, json=body, headers=headers)
        except httpx.TimeoutException:
            return HttpResponse(0, None, f"no answer within {_TIMEOUT_S:g} s", None, perf_counter() - start_s)
        except httpx.TransportError as error:
            return HttpResponse(0, None, str(error), None, perf_counter() - start_s)
        try:
            record = response.json()
        except ValueError:
            record = None
        seconds = perf_counter() - start_s
        return HttpResponse(response.status_code, record, response.text, response.headers.get("date"), seconds)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()


def examine_service(probe: ServiceProbe, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> "list[Finding]":
    """Return findings about a service; ten requests of an anonymous user are part of the check."""
    alive = probe.request("/healthz")
    if alive.status == 0:
        text = f"no answer ({alive.text}); check that the service runs, and the URL"
        return [_finding("unavailable", "reach", text)]
    if not isinstance(alive.record, dict) or "checks" not in alive.record:
        text = f"status {alive.status} from something that is not a multitudes service; check the URL"
        return [_finding("unavailable", "reach", text)]
    findings = [
        _finding("ok", "reach", f"answers in {alive.seconds * 1e3:.0f} ms"),
        *_check_access(probe),
        _check_clock(alive, now()),
        _check_readiness(probe.request("/readyz")),
    ]
    releases = probe.request("/v1/releases")
    if releases.status != 200:
        advice = "" if probe.has_key else "; give --key, or set MULTITUDES_KEY"
        return [*findings, _finding("unavailable", "key", f"{releases.message}{advice}")]
    return [
        *findings,
        *_check_releases(releases.record, now()),
        *_check_recommendations(probe),
        *_check_metrics(probe.request("/metrics")),
    ]


def _check_access(probe: ServiceProbe) -> "Iterator[Finding]":
    if probe.tls:
        yield _finding("ok", "access", "TLS with a valid certificate")
    elif not probe.is_local:
        yield _finding(
            "warning", "access", "no TLS: keys and ids are sent in clear text; put a TLS proxy in front of it"
        )
    without_key = probe.request("/v1/releases", send_key=False)
    if without_key.status in {401, 403}:
        yield _finding("ok", "access", "requests without a key are rejected")
    elif without_key.status == 421:
        yield _finding("warning", "access", f"{without_key.message}; to serve others, make keys with `multitudes keys`")
    elif probe.is_local:
        yield _finding("note", "access", "no key is required, on this machine")
    else:
        text = "no key is required: anyone who can reach it may read, write and erase; make keys with `multitudes keys`"
        yield _finding("warning", "access", text)


def _check_clock(response: HttpResponse, now: datetime) -> "Finding":
    if response.date is None:
        return _finding("note", "clock", "the service sends no Date header")
    skew_s = (parsedate_to_datetime(response.date) - now).total_seconds()
    if abs(skew_s) <= _MAX_SKEW_S:
        return _finding("ok", "clock", f"agrees with this machine within {_MAX_SKEW_S:g} s")
    text = f"{abs(skew_s):.0f} s {'ahead of' if skew_s > 0 else 'behind'} this machine; times of events will be wrong"
    return _finding("warning", "clock", f"{text}; synchronise both clocks")


def _check_readiness(response: HttpResponse) -> "Finding":
    if response.status != 200 or not isinstance(response.record, dict):
        return _finding("unavailable", "ready", f"not ready: {response.message}")
    checks = response.record["checks"]
    text = f"serves release {checks['release']} with {checks['items']:,} items"
    names = {"state": "user state store", "logs": "logs"}
    problems = [f"{name}: {checks[key]}" for key, name in names.items() if checks.get(key, "ok") != "ok"]
    if not problems:
        return _finding("ok", "ready", f"{text}; the user state store answers")
    return _finding("warning", "ready", "; ".join([text, *problems]))


def _check_releases(record: dict[str, Any], now: datetime) -> "Iterator[Finding]":
    serving, current = record["serving"], record["current"]
    release = next((version for version in record["versions"] if version["serves"]), None)
    if release is not None and release["created_at"] is not None:
        days = (now - datetime.fromisoformat(release["created_at"])).total_seconds() / 86_400
        age = f"{days:.0f} days" if days >= 2 else f"{days * 24:.0f} hours"
        text = f"version {serving}, {release['method']}, {age} old"
        if days > _MAX_AGE_DAYS:
            yield _finding("warning", "release", f"{text}; check that publishing still runs")
        else:
            yield _finding("ok", "release", text)
    if current is not None and current != serving:
        problem = next((version["problem"] for version in record["versions"] if version["version"] == current), None)
        why = problem or "it is being opened, or was rejected; see the journal"
        yield _finding("warning", "release", f"CURRENT names {current}, but {serving} is served: {why}")


def _check_recommendations(probe: ServiceProbe) -> "Iterator[Finding]":
    """Send one request without a history, then requests whose history is the top of the first response."""
    name, history, responses = f"doctor-{uuid4().hex[:8]}", list[object](), list[HttpResponse]()
    for n in range(_N_REQUESTS):
        response = probe.request("/v1/recommend", {"history": history, "n": 20, "request_id": f"{name}-{n}"})
        responses.append(response)
        if n == 0 and response.status == 200:
            history = [candidate["item_id"] for candidate in response.record["candidates"][:5]]
    good = [response for response in responses if response.status == 200]
    if len(good) < _N_REQUESTS:
        failed = next(response for response in responses if response.status != 200)
        level: Level = "warning" if failed.status == 429 else "unavailable"
        why = failed.message if failed.status else failed.text
        text = f"{_N_REQUESTS - len(good)} of {_N_REQUESTS} requests were not answered: {why}"
        yield _finding(level, "answers", text)
    if good:
        ms = sorted(response.seconds * 1e3 for response in good)
        text = f"p50 {median(ms):.1f} ms, p99 {ms[-1]:.1f} ms (the slowest of {len(ms)}), from here"
        yield _finding("ok", "answers", text)
    with_history = [response.record for response in responses[1:] if response.status == 200]
    degraded = [record["reason"] for record in with_history if record["degraded"]]
    if degraded:
        yield _finding("warning", "answers", f"{len(degraded)} of {_N_REQUESTS - 1} were degraded: {degraded[0]}")


def _check_metrics(response: HttpResponse) -> "Iterator[Finding]":
    page = response.text
    if response.status != 200 or "multitudes_build_info" not in page:
        text = f"not readable from here (status {response.status}); Prometheus needs a key of scope metrics or read"
        yield _finding("note", "metrics", text)
        return
    answers, popular = _metric_sum(page, "answers_total"), _metric_sum(page, 'answers_total{effort="popular"}')
    share = f", {popular / answers:.0%} of them popular items" if answers else ""
    yield _finding("ok", "metrics", f"{_metric_sum(page, 'processes'):.0f} processes; {answers:,.0f} answers{share}")
    for name, text in (
        ("state_breaker_open", "the user state store failed and is not read; check the store"),
        ("release_refused", "the release that CURRENT names was rejected; run: multitudes doctor RELEASES"),
        ("log_lost_rows_total", "rows of the logs were lost since the start; check whether the disk is full"),
        ('setbacks_total{kind="failed"}', "searches failed since the start; the journal has the reason"),
        ('requests_total{status="500"}', "requests failed with status 500 since the start; the journal has the reason"),
    ):
        if (count := _metric_sum(page, name)) > 0:
            yield _finding("warning", "metrics", f"{text} ({name.partition('{')[0]}: {count:,.0f})")


def _metric_sum(page: str, name: str) -> float:
    """Return the sum of the samples of a metric, such as ``requests_total`` or ``requests_total{status="500"}``."""
    name, _, label = name.partition("{")
    samples = re.findall(rf"^multitudes_{name}(?:\{{([^}}]*)\}})? (\S+)$", page, re.MULTILINE)
    return sum(float(value) for labels, value in samples if label.rstrip("}") in labels)


def _finding(level: "Level", subject: str, text: str) -> "Finding":
    from multitudes.retrieval.inspection import Finding

    return Finding(level, subject, text)
