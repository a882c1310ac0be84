"""`multitudes explore`: the page as a file, and what it refuses in one line."""

import json

import pytest

from multitudes.cli.main import run
from multitudes.service.settings import load_settings
from multitudes.state.erasure_requests import ErasureRequests
from tests.release.small_release import publish_small
from tests.service.conftest import ask


def test_a_page_with_users_is_written_once(shared_releases, tmp_path, capsys):
    file = tmp_path / "new" / "page.html"
    call = ["explore", str(shared_releases), "--export", str(file), "--users", "2", "--json"]
    assert run(call) == 0
    record = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert record == {"file": str(file), "users": record["users"], "bytes": file.stat().st_size}
    assert len(record["users"]) == 2
    html = file.read_text()
    assert all(f"<h2>User {user}</h2>" in html for user in record["users"])
    assert run(call) == 2
    assert "exists" in capsys.readouterr().err
    assert run([*call, "--overwrite"]) == 0
    assert file.read_text() == html, "the same seed draws the same users"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--export", "{new}", "--user", "zoe"], 2, "user 'zoe' is not in release 0001; leave --user out to draw some"),
        (["--user", "ann"], 2, "'explore without --export' does not read --user"),
        (["--users", "3"], 2, "'explore without --export' does not read --users"),
        (["--export", "s3://bucket/page.html"], 2, "expected a local path"),
    ],
)
def test_a_wrong_call_is_one_line(arguments, code, message, shared_releases, tmp_path, capsys):
    given = [word.format(new=tmp_path / "new.html") for word in arguments]
    assert run(["explore", str(shared_releases), *given]) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert not (tmp_path / "new.html").exists()


def test_two_releases_are_written_side_by_side_and_named_apart(shared_releases, tmp_path, capsys):
    other = tmp_path / "releases"
    publish_small(other)
    publish_small(other)
    for beside, shown in ((str(other), f"release {tmp_path.name}/releases/0002"), ("0001", "release 0001")):
        file = tmp_path / f"{shown[-4:]}.html"
        shown_first = other if beside == "0001" else shared_releases
        assert run(["explore", str(shown_first), beside, "--export", str(file), "--user", "ann"]) == 0
        assert f'<th scope="col">{shown}</th>' in file.read_text()
    capsys.readouterr()
    for beside, message in (("0002", "is the release that is shown already"), ("none", "none: neither a version in")):
        assert run(["explore", str(other), beside, "--export", str(tmp_path / "x.html")]) in {2, 4}
        assert message in capsys.readouterr().err


def test_a_folder_without_releases_and_who_asked_another_service_to_be_erased_are_not_shown(
    tmp_path, capsys, shared_releases
):
    assert run(["explore", str(tmp_path / "none"), "--export", str(tmp_path / "page.html")]) == 4
    assert "publish" in capsys.readouterr().err
    publish_small(tmp_path / "other")
    (tmp_path / "other.service").mkdir()
    ErasureRequests(tmp_path / "other.service" / "forgotten").add("ann", 1)
    call = ["explore", str(shared_releases), str(tmp_path / "other"), "--export", str(tmp_path / "page.html")]
    assert run([*call, "--user", "ann", "--user", "bob"]) == 0
    assert (tmp_path / "page.html").read_text().count("does not have this user.</p>") == 1


@pytest.mark.parametrize("named", [[], ["--data", "{data}"]])
def test_who_asked_to_be_erased_is_on_no_page(named, releases, tmp_path, capsys):
    data = tmp_path / ("elsewhere" if named else "releases.service")
    data.mkdir()
    ErasureRequests(data / "forgotten").add("ann", 1)
    call = ["explore", str(releases), *[word.format(data=data) for word in named], "--export"]
    assert run([*call, str(tmp_path / "drawn.html"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["users"] == ["bob", "eve"]
    assert run([*call, str(tmp_path / "ann.html"), "--user", "ann"]) == 2
    assert "user 'ann' is not in release 0001" in capsys.readouterr().err
    assert (
        run(["explore", str(releases / "versions" / "0001"), *call[2:], str(tmp_path / "b.html"), "--user", "ann"]) == 2
    )
    assert run(["explore", str(releases), "--data", str(tmp_path / "none")]) == 2
    assert "no such folder; expected the data folder of the service" in capsys.readouterr().err


def test_who_asked_to_be_erased_is_erased_for_the_page_that_is_served_too(releases, tmp_path, monkeypatch):
    seen = []
    (tmp_path / "releases.service").mkdir()
    ErasureRequests(tmp_path / "releases.service" / "forgotten").add("ann", 1)

    def serve(app, settings, listener) -> None:
        seen.append([user in ErasureRequests(settings.data.folder / "forgotten") for user in ("ann", "bob")])

    monkeypatch.setattr("multitudes.service.server.serve_single", serve)
    assert run(["explore", str(releases), "--port", "0", "--json"]) == 0
    assert seen == [[True, False]]


def test_who_has_not_the_printed_url_and_who_comes_by_another_name_sees_nothing(shared_releases, monkeypatch, capsys):
    seen = []

    def serve(app, settings, listener) -> None:
        url, _, key = json.loads(capsys.readouterr().out)["url"].partition("/#key=")

        def statuses(base: str, **headers: str) -> list[int]:
            paths = ("/", "/v1/explore/map", "/v1/explore/users", "/v1/users/%22ann%22", "/v1/items/101/similar")
            return [ask(app, "GET", path, base=base, headers=headers).status_code for path in paths]

        seen.append(settings.server.host)
        seen.append(statuses(url))
        seen.append(statuses(url, authorization=f"Bearer {key}"))
        seen.append(statuses("http://evil.example", authorization=f"Bearer {key}"))

    def patient(file, environment, options):
        late = {"deadlines": {"default_ms": 20_000}, "state": {"read_s": 20}}  # which a busy machine keeps
        return load_settings(file, environment, options | late)

    monkeypatch.setattr("multitudes.service.settings.load_settings", patient)
    monkeypatch.setattr("multitudes.service.server.serve_single", serve)
    assert run(["explore", str(shared_releases), "--port", "0", "--json"]) == 0
    assert seen == ["127.0.0.1", [200] + [401] * 4, [200] * 5, [421] * 5]
