"""Doors: who may come in, tried with no key, a wrong one, one of another scope, and under a name of somebody else's."""

import json
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, date, datetime
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from multitudes import audit
from multitudes.audit import append_audit
from multitudes.cli.main import run
from multitudes.errors import MissingError, UsageError
from multitudes.service import api_keys as keys_room
from multitudes.service.access_records import AccessRecords, last_uses
from multitudes.service.api_keys import ApiKey, ApiKeys, key_digest, load_api_keys, make_key, read_keys
from multitudes.service.app import create_app
from multitudes.service.settings import ServeConfig, ServerConfig
from multitudes.state.erasure_requests import ErasureRequests
from tests.service.conftest import ask, dependencies, refusal

Asked = tuple[str, str, dict[str, Any]]
# An address of each scope, with a body where one is needed.
RECOMMEND: Asked = ("POST", "/v1/recommend", {"json": {"history": []}})
EVENTS: Asked = ("POST", "/v1/events", {"json": {"events": [{"event_id": "e", "user_id": "ann", "item_id": 101}]}})
METRICS: Asked = ("GET", "/metrics", {})
READ: Asked = ("GET", "/v1/users/ann", {})
WRITE: Asked = ("PUT", "/v1/users/ann", {"json": {"followed_topics": []}})
ADMIN: Asked = ("DELETE", "/v1/users/ann", {})


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys"


@pytest.fixture(scope="module")
def guarded(retriever, tmp_path_factory):
    """The service behind keys, and a key of each scope."""
    file = tmp_path_factory.mktemp("access") / "keys"
    given = {scope: make_key(file, f"of-{scope}", (scope,)) for scope in keys_room.SCOPES}
    return create_app(replace(dependencies(retriever, StringIO()), keys=ApiKeys(file))), given


def test_only_a_good_bearer_key_opens_an_address_and_health_needs_none(guarded):
    app, given = guarded
    for kind in ("Basic", "Digest", "mult_"):
        response = ask(app, "GET", "/v1/releases", headers={"authorization": f"{kind} {given['read']}"})
        assert refusal(response)[:2] == (401, "no_key")
    assert ask(app, "GET", "/v1/releases", headers={"authorization": f"bearer {given['read']}"}).status_code == 200
    assert ask(app, "GET", "/v1/secret").status_code == 401
    assert ask(app, "GET", "/v1/secret", headers=bearer(given["read"])).status_code == 404
    assert ask(app, "GET", "/healthz").status_code == 200
    assert ask(app, "GET", "/readyz").status_code == 200
    assert ask(app, "GET", "/metrics").status_code == 401


@pytest.mark.parametrize(
    "request_",
    [RECOMMEND, EVENTS, METRICS, READ, WRITE, ADMIN, ("GET", "/v1/releases", {}), ("GET", "/openapi.json", {})],
)
@pytest.mark.parametrize(
    "headers",
    [
        {},
        bearer(""),
        bearer("wrong"),
        {"authorization": "Basic YTpi"},
        {"authorization": "Bearer \xe9"},
        {"x-api-key": "k"},
    ],
    ids=["none", "empty", "unknown", "another kind", "no ASCII", "another header"],
)
def test_without_a_good_key_nothing_is_told(request_, headers, guarded):
    app, _ = guarded
    method, path, body = request_
    response = ask(app, method, path, headers={k: v.encode("latin-1") for k, v in headers.items()}, **body)
    assert refusal(response)[:2] == (401, "no_key")
    assert response.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize(
    ("request_", "allowed"),
    [
        (RECOMMEND, "recommend or read"),
        (("POST", "/v1/recommend/batch", {"json": {"requests": [{"history": []}]}}), "recommend or read"),
        (("GET", "/v1/items/101/similar", {}), "recommend or read"),
        (EVENTS, "events or write"),
        (METRICS, "metrics or read"),
        (READ, "read"),
        (("GET", "/v1/releases", {}), "read"),
        (("GET", "/openapi.json", {}), "read"),
        (WRITE, "write"),
        (ADMIN, "admin"),
    ],
)
@pytest.mark.parametrize("scope", keys_room.SCOPES)
def test_a_key_opens_its_own_scope_alone(request_, allowed, scope, guarded):
    app, given = guarded
    method, path, body = request_
    response = ask(app, method, path, headers=bearer(given[scope]), **body)
    if scope in allowed.split(" or "):
        assert response.status_code == 200
    else:
        status, code, message = refusal(response)
        assert (status, code) == (403, "wrong_scope")
        assert f"a key of scope {allowed}; the key given has {scope}" in message


@pytest.mark.parametrize(
    "path", ["/v1/users/%61nn", "/v1%2Fusers/ann", "/v1/items/../users/ann", "/v1/items/..%2Fusers%2Fann"]
)
def test_another_way_to_write_a_path_leads_nowhere_else(path, guarded):
    """The scope is decided by the path that the routes see."""
    app, given = guarded
    response = ask(app, "GET", path, headers=bearer(given["recommend"]))
    assert response.status_code in {403, 404, 422}
    assert "events" not in response.text


def name(key: ApiKey | None) -> str | None:
    return None if key is None else key.name


def test_a_key_that_is_taken_out_of_the_file_is_no_longer_good(file, monkeypatch):
    monkeypatch.setattr(keys_room, "_RELOAD_INTERVAL_S", 0.0)
    first, second = make_key(file, "first", ("read",)), make_key(file, "second", ("read",))
    keys = ApiKeys(file)
    assert [name(keys.find(key)) for key in (first, second)] == ["first", "second"]
    file.write_text("".join(line for line in file.read_text().splitlines(keepends=True) if "first" not in line))
    assert keys.find(first) is None
    assert name(keys.find(second)) == "second"
    as_long = file.read_text().replace(key_digest(second), key_digest(first))
    file.write_text(as_long)
    os.utime(file, (1, 1))  # whatever the clock of the disk counts in
    assert (keys.find(second), name(keys.find(first))) == (None, "second"), "in the same file, of the same size"
    file.write_text(as_long.replace(key_digest(first), key_digest(second)))
    third = make_key(file, "third", ("write",))
    assert name(keys.find(third)) == "third"
    file.write_text("damaged\n")
    assert keys.find(second) is None, "shut, not open"
    file.unlink()
    assert keys.find(second) is None


def test_the_file_holds_no_key(file):
    key = make_key(file, "shop", ("read", "write"))
    assert key not in file.read_text()
    (line,) = read_keys(file)
    assert line == ApiKey("shop", frozenset({"read", "write"}), key_digest(key))
    assert len(key) > 40
    with pytest.raises(UsageError, match="has a key 'shop' already"):
        make_key(file, "shop", ("read",))


NO_KEYS = ["shop", "shop read", f"shop all {'0' * 64}", "shop read 12", f"a b read {'0' * 64}", f"é read {'0' * 64}"]
NO_DAYS = [f"shop read {'0' * 64} {day}" for day in ("soon", "2027-13-01", "1", "2027-01-01T00:00")]


@pytest.mark.parametrize("line", NO_KEYS + NO_DAYS)
def test_a_file_that_is_none_is_refused_with_its_line(line, file):
    make_key(file, "good", ("read",))
    file.write_text(file.read_text() + line + "\n")
    said = (
        r"line 3 ends in .*; expected a day as 2027-01-31" if line in NO_DAYS else "line 3 is not a key; expected NAME"
    )
    with pytest.raises(UsageError, match=said):
        ApiKeys(file)


def test_no_file_and_an_empty_file_open_nothing(file):
    with pytest.raises(MissingError, match="no such file of keys; make it: multitudes keys add"):
        ApiKeys(file)
    file.write_text("# nobody\n")
    with pytest.raises(UsageError, match="holds no key"):
        ApiKeys(file)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.org"])
def test_without_keys_the_service_is_for_this_machine_alone(host, file):
    with pytest.raises(UsageError, match="others can reach it, and no key is required"):
        load_api_keys(ServeConfig.model_validate({"server": {"host": host}}))
    load_api_keys(ServeConfig.model_validate({"server": {"host": host}, "keys": {"open": True}}))
    make_key(file, "shop", ("read",))
    assert load_api_keys(ServeConfig.model_validate({"server": {"host": host}, "keys": {"file": file}})) is not None
    assert load_api_keys(ServeConfig()) is None


def test_without_keys_a_page_in_a_browser_cannot_call_it_by_a_name_of_its_own(deps):
    app = create_app(deps)
    for base in ("http://evil.example", "http://evil.example:8000", "http://127.0.0.1.evil.example"):
        assert refusal(ask(app, "POST", "/v1/recommend", json={"history": []}, base=base))[:2] == (421, "wrong_host")
    for base in ("http://localhost", "http://127.0.0.1:8000", "http://[::1]:8000"):
        assert ask(app, "POST", "/v1/recommend", json={"history": []}, base=base).status_code == 200
    assert ask(app, "GET", "/healthz", base="http://10.0.0.7").status_code == 200


def test_the_name_of_the_key_is_in_the_journal_and_the_key_is_not(deps, file, written):
    key = make_key(file, "shop", ("read",))
    deps.engine.error = ZeroDivisionError("x")
    method, path, body = RECOMMEND
    ask(create_app(replace(deps, keys=ApiKeys(file))), method, path, headers=bearer(key), **body)
    assert '"key": "shop"' in written.getvalue()
    assert key not in written.getvalue()


def test_a_key_ends_on_its_day(deps, file, monkeypatch):
    key = make_key(file, "shop", ("recommend",), date(2999, 1, 31))
    assert read_keys(file)[0].expires == date(2999, 1, 31)
    app = create_app(replace(deps, keys=ApiKeys(file)))
    method, path, body = RECOMMEND
    for now, status in ((datetime(2999, 1, 30, 23, 59, 59, tzinfo=UTC), 200), (datetime(2999, 1, 31, tzinfo=UTC), 401)):
        monkeypatch.setattr(keys_room, "datetime", SimpleNamespace(now=lambda zone, now=now: now.astimezone(zone)))
        response = ask(app, method, path, headers=bearer(key), **body)
        assert response.status_code == status
    assert refusal(response)[2].startswith("this API key expired on 2999-01-31; ask who runs the service")
    with pytest.raises(UsageError, match="is of no use today; give a later day"):
        make_key(file, "late", ("read",), datetime.now(UTC).date())


def test_rejections_are_counted_by_the_name_of_the_key_and_never_by_the_key(deps, file):
    key = make_key(file, "shop", ("recommend",))
    app = create_app(replace(deps, keys=ApiKeys(file)))
    for headers in ({}, bearer("wrong"), bearer("wrong"), bearer(key)):
        ask(app, "GET", "/v1/users/ann", headers=headers)
    page = deps.metrics.render().decode()
    for labels, count in (
        ('key="",reason="missing"', 1),
        ('key="",reason="unknown"', 2),
        ('key="shop",reason="wrong_scope"', 1),
    ):
        assert f"multitudes_rejected_keys_total{{{labels}}} {count}.0" in page
    assert key not in page


def test_who_erased_whom_is_on_record_without_the_id_of_the_user(deps, file, tmp_path):
    requests = ErasureRequests(tmp_path / "forgotten")
    requests.add("ann", 1)
    keys = {scope: make_key(file, f"of-{scope}", (scope,)) for scope in ("admin", "recommend")}
    app = create_app(replace(deps, keys=ApiKeys(file), access_records=AccessRecords(tmp_path, requests.digest)))
    answers = [
        ask(app, "DELETE", path, headers=headers | {"x-request-id": "ann"})
        for path, headers in (
            ("/v1/users/ann", bearer(keys["admin"])),
            ("/v1/users/%22ann%22", bearer(keys["recommend"])),
            ("/v1/users/bob", bearer("wrong")),
            ("/v1/users/bob", {}),
            ("/v1/recommend", bearer(keys["admin"])),
        )
    ]
    method, path, body = RECOMMEND
    ask(app, method, path, headers=bearer(keys["recommend"]), **body)
    lines = audit_lines(tmp_path)
    assert mode(tmp_path / "audit.log") == 0o600
    digest = requests.digest("ann")
    assert [(line["key"], line["what"], line["user"], line["status"]) for line in lines] == [
        ("of-admin", "DELETE /v1/users/{id}", digest, 200),
        ("of-recommend", "DELETE /v1/users/{id}", digest, 403),
        ("of-admin", "DELETE another path", None, 405),
    ], "what has no key is not on record, so nobody can fill the disk"
    named = [answer.headers["x-request-id"] for answer in answers]
    assert [line["request_id"] for line in lines] == [named[0], named[1], named[4]], "the service names them"
    assert "ann" not in (tmp_path / "audit.log").read_text()
    assert set(last_uses(tmp_path)) == {"of-admin", "of-recommend"}
    assert mode(tmp_path / "key_uses") == 0o700


def audit_lines(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "audit.log").read_text().splitlines()]


def test_a_key_without_the_scope_cannot_fill_the_disk_and_what_it_tried_is_counted(tmp_path):
    now_s = 0.0
    records = AccessRecords(tmp_path, lambda _: None, lambda: now_s)

    def ask_for_erasure(key: str, status: int, times: int) -> None:
        state = {"key": key, "request_id": "r-1"}
        for _ in range(times):
            records.record_request({"method": "DELETE", "path": "/v1/users/ann", "state": state}, status)

    ask_for_erasure("shop", 403, 1_000)
    ask_for_erasure("other", 403, 1)
    ask_for_erasure("ops", 200, 30)
    lines = audit_lines(tmp_path)
    assert [line["key"] for line in lines] == ["shop", "other"] + ["ops"] * 30, "an admin has every line"
    now_s = 601.0
    ask_for_erasure("shop", 403, 5)
    (line,) = audit_lines(tmp_path)[len(lines) :]
    assert (line["key"], line["status"], line["without_line"]) == ("shop", 403, 999)
    records.close()
    assert audit_lines(tmp_path)[-1].items() >= {"key": "shop", "status": 403, "without_line": 4}.items()
    assert len(audit_lines(tmp_path)) == len(lines) + 2


def test_a_full_audit_log_gets_a_number_and_no_line_is_lost(tmp_path, monkeypatch):
    monkeypatch.setattr(audit, "MAX_BYTES", 1_000)
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda number: append_audit(tmp_path / "audit.log", what=f"{number:040}"), range(60)))
    files = sorted(tmp_path.iterdir())
    assert {file.name for file in files} >= {"audit.log.1", "audit.log.2", "audit.log.3"}
    assert all(file.stat().st_size < 1_500 for file in files)
    lines = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    assert sorted(int(line["what"]) for line in lines) == list(range(60))


def test_a_record_that_is_cut_by_a_full_disk_is_in_the_log_of_the_service(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(os, "write", lambda _, line: len(line) // 2)
    append_audit(tmp_path / "audit.log", what="publish 0001")
    assert "No space left on device" in caplog.text
    assert "publish 0001" in caplog.text


def test_last_uses_are_asked_of_a_folder_that_exists(file, tmp_path, capsys):
    make_key(file, "shop", ("read",))
    assert run(["keys", "list", str(file), "--used", str(tmp_path / "none")]) == 2
    assert "no such folder; expected the data folder of the service" in capsys.readouterr().err


def test_what_a_user_did_is_told_to_a_key_that_reads_and_to_no_other(deps, file):
    keys = {scope: make_key(file, f"of-{scope}", (scope,)) for scope in ("read", "recommend", "write")}
    app = create_app(replace(deps, keys=ApiKeys(file)))
    events = {"events": [{"event_id": str(item), "user_id": "ann", "item_id": item} for item in (105, 999)]}
    ask(app, "POST", "/v1/events", headers=bearer(keys["write"]), json=events)
    body = {"user_id": "ann", "n": 3}

    def answers(scope: str) -> list[dict[str, Any]]:
        one = ask(app, "POST", "/v1/recommend", headers=bearer(keys[scope]), json=body).json()
        batch = ask(app, "POST", "/v1/recommend/batch", headers=bearer(keys[scope]), json={"requests": [body]}).json()
        return [one, batch["answers"][0]]

    for read, unread in zip(answers("read"), answers("recommend"), strict=True):
        shown, hidden = read["interests"], unread["interests"]
        assert any(candidate["because"] for candidate in read["candidates"])
        assert unread["candidates"] == [candidate | {"because": []} for candidate in read["candidates"]]
        assert (read["unknown_items"], unread["unknown_items"]) == ([999], [])
        assert any(interest["items"] for interest in shown)
        assert [(interest["items"], interest["age_days"]) for interest in hidden] == [([], None)] * len(shown)
        assert [interest["share"] for interest in hidden] == [interest["share"] for interest in shown]
    read, unread = (
        ask(app, "POST", "/v1/vectors", headers=bearer(keys[scope]), json=body).json()
        for scope in ("read", "recommend")
    )
    assert 105 in read["exclude"]
    assert unread == read | {"exclude": [], "request_id": unread["request_id"]}
    followed = ask(app, "PUT", "/v1/users/ann", headers=bearer(keys["write"]), json={"followed_topics": ["Drama"]})
    assert (followed.json()["events"], followed.json()["followed_topics"]) == ([], ["Drama"])
    assert len(ask(app, "GET", "/v1/users/ann", headers=bearer(keys["read"])).json()["events"]) == 2


def test_a_disk_that_takes_no_record_stops_nothing_and_an_erasure_that_fails_midway_is_on_record(deps, file, tmp_path):
    key = make_key(file, "shop", ("admin",))
    app = create_app(replace(deps, keys=ApiKeys(file), access_records=AccessRecords(tmp_path / "gone", lambda _: None)))
    assert ask(app, "DELETE", "/v1/users/ann", headers=bearer(key)).status_code == 200
    key = make_key(file, "ops", ("admin",))
    deps.states.error = RuntimeError("a defect after the user is marked")
    app = create_app(replace(deps, keys=ApiKeys(file), access_records=AccessRecords(tmp_path, lambda _: None)))
    assert ask(app, "DELETE", "/v1/users/ann", headers=bearer(key)).status_code == 500
    (line,) = (tmp_path / "audit.log").read_text().splitlines()
    assert json.loads(line)["status"] == 500


def test_every_key_that_is_made_is_in_the_file_which_is_its_owners_alone_or_keeps_its_mode(file):
    make_key(file, "first", ("read",))
    with ThreadPoolExecutor(6) as pool:
        made = list(pool.map(lambda number: make_key(file, f"n{number}", ("read",)), range(24)))
    keys = ApiKeys(file)
    assert [name(keys.find(key)) for key in made] == [f"n{number}" for number in range(24)]
    assert [one.name for one in file.parent.iterdir()] == ["keys"], "no lock is left"
    assert mode(file) == 0o600
    file.chmod(0o640)
    make_key(file, "second", ("read",))
    assert mode(file) == 0o640


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_folder_has_a_file_for_each_key_and_a_removed_file_is_a_revoked_key(file, monkeypatch):
    monkeypatch.setattr(keys_room, "_RELOAD_INTERVAL_S", 0.0)
    file.mkdir()
    first, second = make_key(file, "first", ("read",)), make_key(file, "second", ("write",))
    (file / "..data").mkdir()
    (file / ".hidden").write_text("not a key")
    keys = ApiKeys(file)
    assert [name(keys.find(key)) for key in (first, second)] == ["first", "second"]
    assert mode(file / "first") == 0o600
    with pytest.raises(UsageError, match="has a key 'first' already"):
        make_key(file, "first", ("read",))
    (file / "first").unlink()
    assert [name(keys.find(key)) for key in (first, second)] == [None, "second"]
    (file / "second").write_text("damaged")
    assert keys.find(second) is None, "shut, not open"
    (file / "second").unlink()
    with pytest.raises(UsageError, match="holds no key"):
        ApiKeys(file)


def test_keys_of_a_volume_of_kubernetes_are_replaced_at_once(file, monkeypatch):
    """Its files are links into a hidden folder, which a link of another hidden folder replaces."""
    monkeypatch.setattr(keys_room, "_RELOAD_INTERVAL_S", 0.0)
    made = []
    for version in ("..1", "..2"):
        (file / version).mkdir(parents=True)
        made.append(make_key(file / version / "keys", "shop", ("read",)))
    (file / "..data").symlink_to("..1")
    (file / "keys").symlink_to("..data/keys")
    keys = ApiKeys(file)
    assert [name(keys.find(key)) for key in made] == ["shop", None]
    (file / "..next").symlink_to("..2")
    (file / "..next").rename(file / "..data")
    assert [name(keys.find(key)) for key in made] == [None, "shop"]


def test_two_host_headers_are_rejected(deps, guarded):
    headers = [("host", "127.0.0.1"), ("host", "evil.example")]
    for app, path in ((create_app(deps), "/v1/releases"), (guarded[0], "/v1/releases")):
        assert refusal(ask(app, "GET", path, headers=headers)) == (400, "malformed", "two Host headers; send one")
    assert ask(create_app(deps), "GET", "/v1/releases", headers=headers[:1]).status_code == 200


@pytest.mark.parametrize("header", ["x-forwarded-for", "X-Forwarded-Host", "forwarded", "via", "x-real-ip"])
def test_without_keys_what_a_proxy_forwards_is_rejected(header, deps):
    """A proxy on this machine calls the service by 127.0.0.1, whoever calls the proxy."""
    app = create_app(deps)
    status, code, message = refusal(ask(app, "DELETE", "/v1/users/ann", headers={header: "203.0.113.7"}))
    assert (status, code) == (421, "wrong_host")
    assert "a proxy forwarded this request to a service without keys" in message
    assert ask(app, "GET", "/healthz", headers={header: "203.0.113.7"}).status_code == 200
    opened = replace(deps, settings=deps.settings.model_copy(update={"server": ServerConfig(host="0.0.0.0")}))
    assert ask(create_app(opened), "DELETE", "/v1/users/ann", headers={header: "203.0.113.7"}).status_code == 200
