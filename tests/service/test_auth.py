"""Doors: who may come in, tried with no key, a wrong one, one of another scope, and under a name of somebody else's."""

import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from multitudes.atomic import write_text
from multitudes.errors import MissingError, UsageError
from multitudes.service import api_keys as keys_room
from multitudes.service.api_keys import ApiKey, ApiKeys, key_digest, make_key, read_keys
from multitudes.service.app import create_app
from multitudes.service.auth import required_scope
from multitudes.service.dependencies import Dependencies
from multitudes.service.journal import Journal
from multitudes.service.metrics import Metrics
from multitudes.service.settings import JournalConfig, ServeConfig, ServerConfig
from multitudes.service.startup import load_api_keys
from tests.service.conftest import ask, patient, refusal
from tests.service.fakes import DictStates, ListLogs, PlainEngine

Asked = tuple[str, str, dict[str, Any]]
# An address of each scope, with a body where one is needed.
READ: Asked = ("POST", "/v1/recommend", {"json": {"history": []}})
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
    file = tmp_path_factory.mktemp("doors") / "keys"
    given = {scope: make_key(file, f"of-{scope}", (scope,)) for scope in keys_room.SCOPES}
    engine, journal = PlainEngine(retriever), Journal(JournalConfig())
    deps = Dependencies(
        patient(), lambda: retriever, engine, DictStates(), ListLogs(), Metrics(), journal, ApiKeys(file)
    )
    return create_app(deps), given


def test_a_good_key_of_another_kind_of_authorization_opens_nothing(guarded):
    app, given = guarded
    for kind in ("Basic", "Digest", "mult_"):
        response = ask(app, "GET", "/v1/releases", headers={"authorization": f"{kind} {given['read']}"})
        assert refusal(response)[:2] == (401, "no_key")
    assert ask(app, "GET", "/v1/releases", headers={"authorization": f"bearer {given['read']}"}).status_code == 200


@pytest.mark.parametrize("request_", [READ, WRITE, ADMIN, ("GET", "/v1/releases", {}), ("GET", "/openapi.json", {})])
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


def test_what_is_not_there_looks_the_same_without_a_key(guarded):
    app, given = guarded
    assert ask(app, "GET", "/v1/secret").status_code == 401
    assert ask(app, "GET", "/v1/secret", headers=bearer(given["read"])).status_code == 404


@pytest.mark.parametrize(("request_", "needed"), [(READ, "read"), (WRITE, "write"), (ADMIN, "admin")])
@pytest.mark.parametrize("scope", keys_room.SCOPES)
def test_a_key_opens_its_own_scope_alone(request_, needed, scope, guarded):
    app, given = guarded
    method, path, body = request_
    response = ask(app, method, path, headers=bearer(given[scope]), **body)
    if scope == needed:
        assert response.status_code == 200
    else:
        status, code, message = refusal(response)
        assert (status, code) == (403, "wrong_scope")
        assert f"a key of scope {needed}; the key given has {scope}" in message


def test_health_is_asked_by_who_has_no_key(guarded):
    app, _ = guarded
    assert ask(app, "GET", "/healthz").status_code == 200
    assert ask(app, "GET", "/readyz").status_code == 200
    assert ask(app, "GET", "/metrics").status_code == 401


def test_every_address_needs_the_scope_that_is_meant(guarded):
    app, _ = guarded
    found = {
        (method.upper(), path): required_scope(method.upper(), path)
        for path, methods in app.openapi()["paths"].items()
        for method in methods
    }
    assert found == {
        ("POST", "/v1/recommend"): "read",
        ("POST", "/v1/recommend/batch"): "read",
        ("POST", "/v1/events"): "write",
        ("GET", "/v1/items/{id}/similar"): "read",
        ("GET", "/v1/users/{id}"): "read",
        ("PUT", "/v1/users/{id}"): "write",
        ("DELETE", "/v1/users/{id}"): "admin",
        ("GET", "/v1/releases"): "read",
        ("GET", "/healthz"): "read",
        ("GET", "/readyz"): "read",
        ("GET", "/metrics"): "read",
    }


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


@pytest.mark.parametrize(
    "line", ["shop", "shop read", "shop all " + "0" * 64, "shop read 12", "a b read " + "0" * 64, "é read " + "0" * 64]
)
def test_a_file_that_is_none_is_refused_with_its_line(line, file):
    make_key(file, "good", ("read",))
    file.write_text(file.read_text() + line + "\n")
    with pytest.raises(UsageError, match="line 3 is not a key; expected NAME SCOPE"):
        ApiKeys(file)


def test_no_file_and_an_empty_file_open_nothing(file):
    with pytest.raises(MissingError, match="no such file of keys; make one with: multitudes key"):
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
    method, path, body = READ
    ask(create_app(replace(deps, keys=ApiKeys(file))), method, path, headers=bearer(key), **body)
    assert '"key": "shop"' in written.getvalue()
    assert key not in written.getvalue()


def test_keys_that_are_made_at_the_same_time_are_all_in_the_file(file):
    make_key(file, "first", ("read",))
    with ThreadPoolExecutor(6) as pool:
        made = list(pool.map(lambda number: make_key(file, f"n{number}", ("read",)), range(24)))
    keys = ApiKeys(file)
    assert [name(keys.find(key)) for key in made] == [f"n{number}" for number in range(24)]
    assert [one.name for one in file.parent.iterdir()] == ["keys"], "no lock is left"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_file_is_its_owners_alone_and_an_old_one_keeps_its_mode(file):
    make_key(file, "first", ("read",))
    assert mode(file) == 0o600
    file.chmod(0o640)
    make_key(file, "second", ("read",))
    assert mode(file) == 0o640


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


IN_A_NAMESPACE = """
import sys
from pathlib import Path
from multitudes.service import api_keys
api_keys._RELOAD_INTERVAL_S = 0.0
keys = api_keys.ApiKeys(Path(sys.argv[1]))
for line in sys.stdin:
    found = keys.find(line.strip())
    print(found.name if found else "-", flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize("mounted", ["folder", "file"])
def test_a_revoked_key_is_refused_in_a_container_that_mounts_the_folder(mounted, tmp_path):
    """A bind mount in a namespace of its own, as a container has it. The control mounts the file alone."""
    host, inside = tmp_path / "host", tmp_path / "inside"
    host.mkdir()
    key = make_key(host / "keys", "shop", ("read",))
    other = make_key(host / "keys", "other", ("read",))
    source, target = (host, inside) if mounted == "folder" else (host / "keys", inside / "keys")
    inside.mkdir()
    if mounted == "file":
        target.touch()
    script = 'mount --bind "$1" "$2" && exec "$3" -c "$4" "$2"'
    call = ["unshare", "-Urm", "sh", "-c", script, "sh", str(source), str(target), sys.executable, IN_A_NAMESPACE]
    try:
        container = subprocess.Popen(call, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    except FileNotFoundError:
        pytest.skip("no unshare")
    question, answer = container.stdin, container.stdout
    assert question is not None
    assert answer is not None

    def find(given: str) -> str:
        question.write(given + "\n")
        question.flush()
        return answer.readline().strip()

    try:
        if not (found := find(key)):
            pytest.skip("no namespace may be made here")
        assert (found, find(other)) == ("shop", "other")
        kept = [line for line in (host / "keys").read_text().splitlines(keepends=True) if not line.startswith("shop ")]
        write_text(host / "keys", "".join(kept))  # an editor replaces the file too
        assert find(key) == ("-" if mounted == "folder" else "shop")
        assert find(other) == "other"
    finally:
        container.kill()
        container.communicate()


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
