"""A running service, looked at from outside, as a client and as whoever has no key would see it."""

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

    from multitudes.release.inspection import Finding, Level

_LOOPBACK: Final = {"127.0.0.1", "localhost", "::1"}
_N_REQUESTS: Final = 10
_TIMEOUT_S: Final = 10.0
_MAX_SKEW_S: Final = 5.0  # the time of an answer is told in whole seconds
_MAX_AGE_DAYS: Final = 30


class HttpResponse(NamedTuple):
    """What came back."""

    status: int
    record: Any  # the body as JSON, None where it is none
    text: str
    date: str | None
    seconds: float

    @property
    def message(self) -> str:
        """What is said where something was refused."""
        error = self.record.get("error") if isinstance(self.record, dict) else None
        return str(error["message"]) if isinstance(error, dict) else f"status {self.status}"


class ServiceProbe:
    """Asks one service, with a key or without; every request has a deadline."""

    def __init__(self, url: str, key: str | None, transport: "httpx.BaseTransport | None" = None) -> None:
        """Set up.

        Raises:
            UsageError: the address is none, or the key.
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
        """Ask once; status 0 and the reason as text where nobody answers."""
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
    """Look at a service from all sides; it is asked for ten answers to nobody in particular."""
    alive = probe.request("/healthz")
    if alive.status == 0:
        return [
            _finding("unavailable", "reach", f"nobody answers ({alive.text}); is it running, is the address right?")
        ]
    if not isinstance(alive.record, dict) or "checks" not in alive.record:
        text = f"something else answers, with status {alive.status}; is this the address of a multitudes service?"
        return [_finding("unavailable", "reach", text)]
    found = [
        _finding("ok", "reach", f"answers in {alive.seconds * 1e3:.0f} ms"),
        *_check_access(probe),
        _check_clock(alive, now()),
    ]
    found.append(_check_readiness(probe.request("/readyz")))
    releases = probe.request("/v1/releases")
    if releases.status != 200:
        advice = "" if probe.has_key else "; give --key, or set MULTITUDES_KEY"
        return [*found, _finding("unavailable", "key", f"{releases.message}{advice}")]
    return [
        *found,
        *_check_releases(releases.record, now()),
        *_check_recommendations(probe),
        *_check_metrics(probe.request("/metrics")),
    ]


def _check_access(visit: ServiceProbe) -> "Iterator[Finding]":
    if visit.tls:
        yield _finding("ok", "door", "TLS, with a certificate that is good")
    elif not visit.is_local:
        yield _finding("warning", "door", "no TLS: keys and ids travel in the clear; put a proxy with TLS before it")
    stranger = visit.request("/v1/releases", send_key=False)
    if stranger.status in {401, 403}:
        yield _finding("ok", "door", "who has no key is refused")
    elif stranger.status == 421:
        yield _finding("warning", "door", f"{stranger.message}; to serve others, make keys with `multitudes key`")
    elif visit.is_local:
        yield _finding("note", "door", "no key is asked for, on this machine")
    else:
        text = "no key is asked for: whoever reaches it may read, write and forget; make keys with `multitudes key`"
        yield _finding("warning", "door", text)


def _check_clock(answer: HttpResponse, now: datetime) -> "Finding":
    if answer.date is None:
        return _finding("note", "clock", "the service does not tell the time")
    skew_s = (parsedate_to_datetime(answer.date) - now).total_seconds()
    if abs(skew_s) <= _MAX_SKEW_S:
        return _finding("ok", "clock", f"agrees with this machine within {_MAX_SKEW_S:g} s")
    text = f"{abs(skew_s):.0f} s {'ahead of' if skew_s > 0 else 'behind'} this machine; times of events will not agree"
    return _finding("warning", "clock", f"{text}; let both follow one time server")


def _check_readiness(answer: HttpResponse) -> "Finding":
    if answer.status != 200 or not isinstance(answer.record, dict):
        return _finding("unavailable", "ready", f"not ready: {answer.message}")
    checks = answer.record["checks"]
    text = f"serves release {checks['release']} with {checks['items']:,} items"
    if checks["state"] == "ok":
        return _finding("ok", "ready", f"{text}; the user states answer")
    return _finding("warning", "ready", f"{text}; user states: {checks['state']}")


def _check_releases(record: dict[str, Any], now: datetime) -> "Iterator[Finding]":
    serving, current = record["serving"], record["current"]
    own = next((one for one in record["versions"] if one["serves"]), None)
    if own is not None and own["created_at"] is not None:
        days = (now - datetime.fromisoformat(own["created_at"])).total_seconds() / 86_400
        age = f"{days:.0f} days" if days >= 2 else f"{days * 24:.0f} hours"
        text = f"version {serving}, {own['method']}, {age} old"
        old = days > _MAX_AGE_DAYS
        yield _finding("warning" if old else "ok", "release", f"{text}; does publishing still run?" if old else text)
    if current is not None and current != serving:
        problem = next((one["problem"] for one in record["versions"] if one["version"] == current), None)
        why = problem or "it is being opened, or was refused; the journal says which"
        yield _finding("warning", "release", f"CURRENT names {current}, and {serving} serves: {why}")


def _check_recommendations(visit: ServiceProbe) -> "Iterator[Finding]":
    """Ask for somebody without a past, and then for somebody who likes what that one got."""
    name, history, answers = f"doctor-{uuid4().hex[:8]}", list[object](), list[HttpResponse]()
    for n in range(_N_REQUESTS):
        answer = visit.request("/v1/recommend", {"history": history, "n": 20, "request_id": f"{name}-{n}"})
        answers.append(answer)
        if n == 0 and answer.status == 200:
            history = [candidate["item_id"] for candidate in answer.record["candidates"][:5]]
    good = [answer for answer in answers if answer.status == 200]
    if len(good) < _N_REQUESTS:
        wrong = next(answer for answer in answers if answer.status != 200)
        level: Level = "warning" if wrong.status == 429 else "unavailable"
        why = wrong.message if wrong.status else wrong.text
        yield _finding(
            level, "answers", f"{_N_REQUESTS - len(good)} of {_N_REQUESTS} requests were not answered: {why}"
        )
    if good:
        ms = sorted(answer.seconds * 1e3 for answer in good)
        yield _finding(
            "ok", "answers", f"p50 {median(ms):.1f} ms, p99 {ms[-1]:.1f} ms (the slowest of {len(ms)}), from here"
        )
    lesser = [answer.record["reason"] for answer in answers[1:] if answer.status == 200 and answer.record["degraded"]]
    if lesser:
        text = f"{len(lesser)} of {_N_REQUESTS - 1} were less than the full method can give: {lesser[0]}"
        yield _finding("warning", "answers", text)


def _check_metrics(answer: HttpResponse) -> "Iterator[Finding]":
    page = answer.text
    if answer.status != 200 or "multitudes_build_info" not in page:
        text = f"cannot be read from here (status {answer.status}); Prometheus must reach them with a key of scope read"
        yield _finding("note", "metrics", text)
        return
    made, popular = _metric_sum(page, "answers_total"), _metric_sum(page, 'answers_total{effort="popular"}')
    share = f", {popular / made:.0%} of them popular items" if made else ""
    yield _finding("ok", "metrics", f"{_metric_sum(page, 'processes'):.0f} processes; {made:,.0f} answers{share}")
    for name, text in (
        ("state_breaker_open", "the user states failed and are not asked; look at the store"),
        ("release_refused", "what CURRENT names was refused; run: multitudes doctor RELEASES"),
        ("log_lost_rows_total", "rows of the logs were lost since the start; is the disk full?"),
        ('setbacks_total{kind="failed"}', "searches failed since the start; the journal has the reason"),
        ('requests_total{status="500"}', "requests ended in a defect since the start; the journal has it"),
    ):
        if (count := _metric_sum(page, name)) > 0:
            yield _finding("warning", "metrics", f"{text} ({name.partition('{')[0]}: {count:,.0f})")


def _metric_sum(page: str, name: str) -> float:
    """Return the sum of the samples of a name, of those with a label where one is given."""
    name, _, label = name.partition("{")
    found = re.findall(rf"^multitudes_{name}(?:\{{([^}}]*)\}})? (\S+)$", page, re.MULTILINE)
    return sum(float(value) for labels, value in found if label.rstrip("}") in labels)


def _finding(level: "Level", subject: str, text: str) -> "Finding":
    from multitudes.release.inspection import Finding

    return Finding(level, subject, text)
