"""Checks of a running service from outside: what a client sees, with a key and without."""

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from statistics import median
from typing import Any, Final
from urllib.parse import urlsplit
from uuid import uuid4

import httpx

from multitudes.client import bearer_header
from multitudes.errors import UsageError
from multitudes.retrieval.inspection import Finding, Level
from multitudes.service.settings import LOOPBACK_HOSTS

_N_REQUESTS: Final = 10
_TIMEOUT_S: Final = 10.0
_MAX_SKEW_S: Final = 5.0  # the Date header counts whole seconds
_MAX_AGE_DAYS: Final = 30
_CHECK_URL: Final = "check that the service runs, and the URL"


def open_service(url: str, key: str | None, transport: httpx.BaseTransport | None = None) -> httpx.Client:
    """Return a client that sends ``key``, if there is one; nothing is sent yet. Tests replace the ``transport``.

    Raises:
        UsageError: the URL or the key is malformed.
    """
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise UsageError(f"--url {url}: expected the address of a service, such as http://127.0.0.1:8000")
    headers = {} if key is None else {"authorization": bearer_header(key)}
    return httpx.Client(base_url=url, headers=headers, transport=transport, timeout=_TIMEOUT_S)


def examine_service(http: httpx.Client, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> list[Finding]:
    """Return findings about a service; ten requests of an anonymous user are part of the check."""
    findings: list[Finding] = []
    try:
        findings.extend(_findings(http, now))
    except httpx.TimeoutException:
        findings.append(Finding("unavailable", "reach", f"no answer within {_TIMEOUT_S:g} s; {_CHECK_URL}"))
    except httpx.TransportError as error:
        findings.append(Finding("unavailable", "reach", f"no answer ({error}); {_CHECK_URL}"))
    return findings


def _findings(http: httpx.Client, now: Callable[[], datetime]) -> Iterator[Finding]:
    alive = http.get("/healthz")
    if "checks" not in (_record(alive) or {}):
        text = f"status {alive.status_code} from something that is not a multitudes service; check the URL"
        yield Finding("unavailable", "reach", text)
        return
    yield Finding("ok", "reach", f"answers in {alive.elapsed.total_seconds() * 1e3:.0f} ms")
    yield from _check_access(http)
    yield _check_clock(alive, now())
    yield _check_readiness(http.get("/readyz"))
    releases = http.get("/v1/releases")
    if releases.status_code != 200:
        advice = "" if "authorization" in http.headers else "; give --key, or set MULTITUDES_KEY"
        yield Finding("unavailable", "key", f"{_message(releases)}{advice}")
        return
    yield from _check_releases(releases.json(), now())
    yield from _check_recommendations(http)
    yield from _check_metrics(http.get("/metrics"))


def _record(response: httpx.Response) -> dict[str, Any] | None:
    """Return the JSON object of a response; None: it is not one."""
    try:
        record = response.json()
    except ValueError:
        return None
    return record if isinstance(record, dict) else None


def _message(response: httpx.Response) -> str:
    """Return the error message of the service, or the status if it sent none."""
    error = (_record(response) or {}).get("error")
    return str(error["message"]) if isinstance(error, dict) else f"status {response.status_code}"


def _check_access(http: httpx.Client) -> Iterator[Finding]:
    is_local = http.base_url.host in LOOPBACK_HOSTS
    if http.base_url.scheme == "https":
        yield Finding("ok", "access", "TLS with a valid certificate")
    elif not is_local:
        yield Finding(
            "warning", "access", "no TLS: keys and ids are sent in clear text; put a TLS proxy in front of it"
        )
    asked = http.build_request("GET", "/v1/releases")
    asked.headers.pop("authorization", None)
    without_key = http.send(asked)
    if without_key.status_code in {401, 403}:
        yield Finding("ok", "access", "requests without a key are rejected")
    elif without_key.status_code == 421:
        text = f"{_message(without_key)}; to serve others, make keys with `multitudes keys`"
        yield Finding("warning", "access", text)
    elif is_local:
        yield Finding("note", "access", "no key is required, on this machine")
    else:
        text = "no key is required: anyone who can reach it may read, write and erase; make keys with `multitudes keys`"
        yield Finding("warning", "access", text)


def _check_clock(response: httpx.Response, now: datetime) -> Finding:
    if "date" not in response.headers:
        return Finding("note", "clock", "the service sends no Date header")
    skew_s = (parsedate_to_datetime(response.headers["date"]) - now).total_seconds()
    if abs(skew_s) <= _MAX_SKEW_S:
        return Finding("ok", "clock", f"agrees with this machine within {_MAX_SKEW_S:g} s")
    text = f"{abs(skew_s):.0f} s {'ahead of' if skew_s > 0 else 'behind'} this machine; times of events will be wrong"
    return Finding("warning", "clock", f"{text}; synchronise both clocks")


def _check_readiness(response: httpx.Response) -> Finding:
    if response.status_code != 200:
        return Finding("unavailable", "ready", f"not ready: {_message(response)}")
    checks = response.json()["checks"]
    text = f"serves release {checks['release']} with {checks['items']:,} items"
    names = {"state": "user state store", "logs": "logs"}
    problems = [f"{name}: {checks[key]}" for key, name in names.items() if checks.get(key, "ok") != "ok"]
    if not problems:
        return Finding("ok", "ready", f"{text}; the user state store answers")
    return Finding("warning", "ready", "; ".join([text, *problems]))


def _check_releases(record: dict[str, Any], now: datetime) -> Iterator[Finding]:
    serving, current = record["serving"], record["current"]
    release = next((version for version in record["versions"] if version["serves"]), None)
    if release is not None and release["created_at"] is not None:
        days = (now - datetime.fromisoformat(release["created_at"])).total_seconds() / 86_400
        age = f"{days:.0f} days" if days >= 2 else f"{days * 24:.0f} hours"
        text = f"version {serving}, {release['method']}, {age} old"
        if days > _MAX_AGE_DAYS:
            yield Finding("warning", "release", f"{text}; check that publishing still runs")
        else:
            yield Finding("ok", "release", text)
    if current is not None and current != serving:
        problem = next((version["problem"] for version in record["versions"] if version["version"] == current), None)
        why = problem or "it is being opened, or was rejected; see the journal"
        yield Finding("warning", "release", f"CURRENT names {current}, but {serving} is served: {why}")


def _check_recommendations(http: httpx.Client) -> Iterator[Finding]:
    """Send one request without a history, then requests whose history is the top of the first response."""
    name, history, responses = f"doctor-{uuid4().hex[:8]}", list[object](), list[httpx.Response]()
    for n in range(_N_REQUESTS):
        body = {"history": history, "n": 20, "request_id": f"{name}-{n}"}
        response = http.post("/v1/recommend", json=body)
        responses.append(response)
        if n == 0 and response.status_code == 200:
            history = [candidate["item_id"] for candidate in response.json()["candidates"][:5]]
    good = [response for response in responses if response.status_code == 200]
    if len(good) < _N_REQUESTS:
        failed = next(response for response in responses if response.status_code != 200)
        level: Level = "warning" if failed.status_code == 429 else "unavailable"
        text = f"{_N_REQUESTS - len(good)} of {_N_REQUESTS} requests were not answered: {_message(failed)}"
        yield Finding(level, "answers", text)
    if good:
        ms = sorted(response.elapsed.total_seconds() * 1e3 for response in good)
        text = f"p50 {median(ms):.1f} ms, p99 {ms[-1]:.1f} ms (the slowest of {len(ms)}), from here"
        yield Finding("ok", "answers", text)
    with_history = [response.json() for response in responses[1:] if response.status_code == 200]
    degraded = [record["reason"] for record in with_history if record["degraded"]]
    if degraded:
        yield Finding("warning", "answers", f"{len(degraded)} of {_N_REQUESTS - 1} were degraded: {degraded[0]}")


def _check_metrics(response: httpx.Response) -> Iterator[Finding]:
    page = response.text
    if response.status_code != 200 or "multitudes_build_info" not in page:
        what = f"not readable from here (status {response.status_code})"
        text = f"{what}; Prometheus needs a key of scope metrics or read"
        yield Finding("note", "metrics", text)
        return
    answers, popular = _metric_sum(page, "answers_total"), _metric_sum(page, 'answers_total{degradation="popular"}')
    share = f", {popular / answers:.0%} of them popular items" if answers else ""
    yield Finding("ok", "metrics", f"{_metric_sum(page, 'processes'):.0f} processes; {answers:,.0f} answers{share}")
    for name, text in (
        ("state_breaker_open", "the user state store failed and is not read; check the store"),
        ("release_refused", "the release that CURRENT names was rejected; run: multitudes doctor RELEASES"),
        ("log_lost_rows_total", "rows of the logs were lost since the start; check whether the disk is full"),
        ('setbacks_total{kind="failed"}', "searches failed since the start; the journal has the reason"),
        ('requests_total{status="500"}', "requests failed with status 500 since the start; the journal has the reason"),
    ):
        if (count := _metric_sum(page, name)) > 0:
            yield Finding("warning", "metrics", f"{text} ({name.partition('{')[0]}: {count:,.0f})")


def _metric_sum(page: str, name: str) -> float:
    """Return the sum of the samples of a metric, such as ``requests_total`` or ``requests_total{status="500"}``."""
    name, _, label = name.partition("{")
    samples = re.findall(rf"^multitudes_{name}(?:\{{([^}}]*)\}})? (\S+)$", page, re.MULTILINE)
    return sum(float(value) for labels, value in samples if label.rstrip("}") in labels)
