"""The doctor checks a service: it reports what works, and each problem with what to do."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import httpx
import pytest

from multitudes.cli.doctor_service import examine_service, open_service
from multitudes.cli.main import run
from multitudes.errors import StateError
from multitudes.retrieval.inspection import Finding
from multitudes.retrieval.request import time_shortfall
from multitudes.service.admission import OverloadError
from multitudes.service.api_keys import ApiKeys, make_key
from multitudes.service.app import create_app
from multitudes.service.settings import ServeConfig
from multitudes.service.startup import Dependencies
from tests.service.conftest import deps, written  # noqa: F401
from tests.service.test_server import serving

HERE, ELSEWHERE = "http://127.0.0.1:8000", "http://recommend.example.org"
Reply = Callable[[httpx.Request], httpx.Response]


def before(deps: Dependencies, base: str = HERE, date: datetime | None = None) -> Reply:  # noqa: F811
    """Return the service as a client reaches it; its server tells the time."""
    app = create_app(deps)

    async def once(request: httpx.Request) -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=base) as client:
            path, headers = request.url.raw_path.decode(), dict(request.headers)
            return await client.request(request.method, path, content=request.content, headers=headers)

    def reply(request: httpx.Request) -> httpx.Response:
        answer = asyncio.run(once(request))
        told = {"date": format_datetime(date or datetime.now(UTC))}
        return httpx.Response(
            answer.status_code, headers={**answer.headers, **told}, stream=httpx.ByteStream(answer.content)
        )

    return reply


def findings_of(reply: Reply, url: str = HERE, key: str | None = None, **how) -> list[Finding]:
    with open_service(url, key, httpx.MockTransport(reply)) as http:
        return examine_service(http, **how)


def of(findings: list[Finding], subject: str) -> list[tuple[str, str]]:
    return [(finding.level, finding.text) for finding in findings if finding.subject == subject]


def test_a_healthy_service_has_no_warning(deps):  # noqa: F811
    deps.metrics.processes.set(1)
    deps.metrics.build_info.labels("0").set(1)
    made = deps.get_retriever().release.manifest.created_at  # once in a test run, which may take an hour
    findings = findings_of(before(deps, date=made), now=lambda: made)
    assert {finding.level for finding in findings} == {"ok", "note"}, findings
    assert of(findings, "access") == [("note", "no key is required, on this machine")]
    assert of(findings, "ready") == [("ok", "serves release 0001 with 20 items; the user state store answers")]
    assert of(findings, "release") == [("ok", "version 0001, joint, 0 hours old")]
    [(_, text)] = of(findings, "answers")
    assert text.startswith("p50 ")
    assert "(the slowest of 10)" in text
    assert of(findings, "metrics") == [("ok", "1 processes; 10 answers, 10% of them popular items")]
    assert [one.request_id.split("-")[0] for one in deps.logs.answers] == ["doctor"] * 10
    assert {one.user_id for one in deps.logs.answers} == {None}, "no user's history is read"


def test_what_keeps_the_doctor_from_asking_is_reported(deps):  # noqa: F811
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("connection refused")

    [finding] = findings_of(refuse)
    assert (finding.level, finding.exit_code) == ("unavailable", 6)
    assert "no answer (connection refused)" in finding.text
    [finding] = findings_of(lambda _: httpx.Response(200, text="<html>"))
    assert (finding.exit_code, "something that is not a multitudes service" in finding.text) == (6, True)
    reply = before(deps)

    def shut(request: httpx.Request) -> httpx.Response:
        return httpx.Response(403, text="no") if request.url.path == "/metrics" else reply(request)

    [(level, text)] = of(findings_of(shut), "metrics")
    assert (level, "status 403" in text) == ("note", True)


@pytest.fixture
def keyed(deps, tmp_path):  # noqa: F811
    file = tmp_path / "keys"
    key, writer = make_key(file, "doctor", ("read",)), make_key(file, "writer", ("write",))
    return replace(deps, keys=ApiKeys(file)), key, writer


def test_the_access_to_a_service_that_others_reach(deps, keyed):  # noqa: F811
    with_keys, key, _ = keyed
    assert of(findings_of(before(with_keys, ELSEWHERE), ELSEWHERE, key), "access") == [
        ("warning", "no TLS: keys and ids are sent in clear text; put a TLS proxy in front of it"),
        ("ok", "requests without a key are rejected"),
    ]
    over_tls = ELSEWHERE.replace("http:", "https:")
    open_to_all = replace(deps, settings=ServeConfig.model_validate({"server": {"host": "0.0.0.0"}}))
    found = of(findings_of(before(open_to_all, ELSEWHERE), over_tls), "access")
    assert [level for level, _ in found] == ["ok", "warning"]
    assert "anyone who can reach it may read, write and erase" in found[1][1]
    [_, (level, text)] = of(findings_of(before(deps, ELSEWHERE), ELSEWHERE), "access")
    assert (level, "to serve others, make keys" in text) == ("warning", True)


def test_without_the_right_key_the_finding_names_the_one_that_is_needed(keyed):
    with_keys, _, writer = keyed
    [(level, text)] = of(findings_of(before(with_keys)), "key")
    assert (level, text.endswith("give --key, or set MULTITUDES_KEY")) == ("unavailable", True)
    [(level, text)] = of(findings_of(before(with_keys), key=writer), "key")
    assert "needs a key of scope read" in text
    assert writer not in text


@pytest.mark.parametrize(("ahead_s", "level"), [(0, "ok"), (-4, "ok"), (90, "warning"), (-90, "warning")])
def test_clocks_that_differ_are_reported(ahead_s, level, deps):  # noqa: F811
    now = datetime.now(UTC).replace(microsecond=0)
    findings = findings_of(before(deps, date=now + timedelta(seconds=ahead_s)), now=lambda: now)
    [(found, text)] = of(findings, "clock")
    assert found == level
    assert level == "ok" or f"{abs(ahead_s)} s {'ahead of' if ahead_s > 0 else 'behind'} this machine" in text


def test_an_old_release_and_one_that_is_not_served_are_reported(deps):  # noqa: F811
    later = datetime.now(UTC) + timedelta(days=40)
    [(level, text)] = of(findings_of(before(deps), now=lambda: later), "release")
    assert (level, text) == ("warning", "version 0001, joint, 40 days old; check that publishing still runs")
    record = {
        "serving": "0001",
        "current": "0002",
        "versions": [
            {"version": "0001", "serves": True, "created_at": later.isoformat(), "method": "joint"},
            {"version": "0002", "serves": False, "problem": "manifest.json: damaged"},
        ],
    }
    reply = before(deps)

    def newer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json=record) if request.url.path == "/v1/releases" else reply(request)

    found = of(findings_of(newer, now=lambda: later), "release")
    assert ("warning", "CURRENT names 0002, but 0001 is served: manifest.json: damaged") in found


def test_a_store_that_is_unavailable_and_lost_rows_are_reported(deps):  # noqa: F811
    deps.states.error = StateError("the store is away")
    families = deps.metrics
    families.build_info.labels("0").set(1)
    families.breaker_open.set(1)
    families.log_lost_rows.labels("served").inc(3)
    families.log_lost_rows.labels("events").inc(4)
    findings = findings_of(before(deps))
    [(level, text)] = of(findings, "ready")
    assert (level, "user state store: the store is away" in text) == ("warning", True)
    warnings = [text for level, text in of(findings, "metrics") if level == "warning"]
    assert len(warnings) == 2
    assert "(log_lost_rows_total: 7)" in warnings[1]
    assert max(finding.exit_code for finding in findings) == 0


def test_an_overload_a_defect_and_degraded_answers_are_reported(deps):  # noqa: F811
    deps.engine.error = OverloadError("no time; come again later", 1.0)
    [(level, text)] = of(findings_of(before(deps)), "answers")
    assert (level, text) == ("warning", "10 of 10 requests were not answered: no time; come again later")
    deps.engine.error = KeyError("a defect")
    findings = findings_of(before(deps))
    assert of(findings, "answers")[0][0] == "unavailable"
    assert max(finding.exit_code for finding in findings) == 6
    deps.engine.error = None
    lesser = replace(deps, engine=Lesser(deps.engine))
    found = of(findings_of(before(lesser)), "answers")
    assert found[1] == ("warning", "9 of 9 were degraded: to be in time: popular items")


class Lesser:
    """An engine that has no time."""

    def __init__(self, engine) -> None:
        self.engine = engine

    async def answer(self, requests, deadline_s, priority):
        shortfall, popular = time_shortfall("popular items"), self.engine.retriever.recommend_popular
        waiting = iter(requests)
        async for one in self.engine.answer(requests, deadline_s, priority):
            yield one._replace(recommendation=popular(next(waiting), shortfall))


def test_a_wrong_call_is_one_line(tmp_path: Path, capsys):
    for arguments, told in (
        (["doctor"], "nothing to check"),
        (["doctor", "--url", "recommend:8000"], "expected the address of a service"),
        (["doctor", "--url", HERE, "--key", "s3cret\ns3cret"], "key: has characters that are not allowed"),
        (["doctor", "--config", str(tmp_path / "none.toml")], "no such configuration file"),
    ):
        assert run(arguments) == 2
        err = capsys.readouterr().err
        assert told in err
        assert "s3cret" not in err


def test_a_release_and_settings_are_examined_together(releases: Path, tmp_path: Path, capsys):
    config = tmp_path / "serve.toml"
    config.write_text("[server]\nhost = '0.0.0.0'\n[keys]\nopen = true\n[state]\nkeep = 1\n")
    assert run(["doctor", str(releases), "--config", str(config), "--json"]) == 0
    record = json.loads(capsys.readouterr().out.splitlines()[-1])
    risky = [finding["text"] for finding in record["findings"] if finding["subject"] == "settings"]
    assert len(risky) == 3
    assert any("events of a user; keep as many" in text for text in risky)
    assert record["config"] == str(config)


@pytest.mark.slow
def test_the_command_checks_a_running_service(releases: Path, capsys):
    with serving(releases) as running:
        assert run(["doctor", "--url", running.url, "--json"]) == 0
        record = json.loads(capsys.readouterr().out.splitlines()[-1])
        levels = {finding["subject"]: finding["level"] for finding in record["findings"]}
        assert levels["clock"] == "ok", "the server tells the time"
        assert {levels[subject] for subject in ("reach", "ready", "release", "answers", "metrics")} == {"ok"}
    assert run(["doctor", "--url", running.url]) == 6
