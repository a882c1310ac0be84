"""The doctor says what a release is, and its exit code how bad things are."""

import json
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from multitudes.cli.main import run
from multitudes.index.factory import IndexConfig, build_index
from multitudes.release import delta_log
from multitudes.release.delta_log import Delta
from multitudes.release.store import ReleaseStore
from multitudes.retrieval.inspection import inspect_release
from multitudes.service.api_keys import make_key
from tests.release.small_release import publish_small


@pytest.fixture
def releases(tmp_path: Path) -> Path:
    publish_small(tmp_path, index={"kind": "exact", "items": 20, "dimension": 2})
    return tmp_path


def said(capsys: pytest.CaptureFixture[str]) -> str:
    return " ".join(capsys.readouterr().out.split())


def test_a_sound_release_is_said_to_be_sound(releases: Path, capsys):
    assert run(["doctor", str(releases)]) == 0
    text = said(capsys)
    assert "version 0001 serves; joint, 0 hours old; 3 users, 20 items, 2 topics" in text
    assert "every checksum is right" in text
    assert "exact, 20 items, 2 dimensions; every score is computed" in text
    assert "0 added or replaced, 0 removed since; the item tower makes the vectors of new items" in text
    assert "opens with user_tower.onnx and item_tower.onnx and answers; 20 items can be retrieved" in text


def test_a_service_is_not_taken_for_a_folder_and_its_check_names_the_package_that_it_needs(monkeypatch, capsys):
    assert run(["doctor", url := "http://localhost:8417"]) == 2
    assert (
        f"expected a folder of releases; if it is a service: multitudes doctor --url {url}" in capsys.readouterr().err
    )
    monkeypatch.setitem(sys.modules, "httpx", None)  # as if it were not installed
    assert run(["doctor", "--url", url]) == 5
    assert "'httpx'; install it with: pip install 'multitudes[client]'" in capsys.readouterr().err


def test_a_package_that_a_release_needs_and_that_is_not_installed_is_no_damage(releases: Path, monkeypatch, capsys):
    def need_scipy(*_):
        raise ModuleNotFoundError("No module named 'scipy'", name="scipy")

    monkeypatch.setattr("multitudes.retrieval.retriever._answer_requests", need_scipy)
    assert run(["doctor", str(releases)]) == 5
    assert "'scipy'; install it with: pip install 'multitudes[data]'" in said(capsys)


def test_every_damaged_file_is_named_and_the_exit_code_is_4(releases: Path, capsys):
    folder = releases / "versions" / "0001"
    for name in ("item_count.npy", "index/vectors.npy"):
        whole = (folder / name).read_bytes()
        (folder / name).write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    (folder / "users.arrow").unlink()
    assert run(["doctor", str(releases), "--json"]) == 4
    record = json.loads(capsys.readouterr().out.splitlines()[-1])
    damaged = [finding["text"] for finding in record["findings"] if finding["level"] == "damaged"]
    assert record["exit_code"] == 4
    assert len(damaged) == 3
    for name in ("item_count.npy", "index/vectors.npy", "users.arrow"):
        assert sum(name in text for text in damaged) == 1


@pytest.mark.parametrize("name", ["manifest.json", "index/index.json"])
def test_a_damaged_description_is_said_too(releases: Path, name: str, capsys):
    (releases / "versions" / "0001" / name).write_text("{")
    assert run(["doctor", str(releases), "--json"]) == 4
    record = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert sum(f"{name}: damaged" in finding["text"] for finding in record["findings"]) == 1


def test_an_older_version_can_be_examined_and_one_that_is_not_there_is_refused(releases: Path, capsys):
    publish_small(releases)
    assert run(["doctor", str(releases), "--version", "0001"]) == 0
    assert "version 0001 does not serve" in said(capsys)
    assert run(["doctor", str(releases), "--version", "7"]) == 2
    assert run(["doctor", str(releases / "elsewhere")]) == 4


def test_what_came_and_went_is_counted_and_an_unfinished_change_is_noted(releases: Path, capsys):
    folder = releases / "versions" / "0001"
    file = delta_log.delta_log_file(folder)
    assert file is not None
    gone = Delta("remove", 0, pl.DataFrame({"item_id": [101, 102]}))
    for _ in range(2):
        delta_log.append_delta(file, delta_log.release_identity(folder), gone)
    file.write_bytes(file.read_bytes()[:-1])
    assert run(["doctor", str(releases)]) == 0
    text = said(capsys)
    assert "0 added or replaced, 2 removed since" in text
    assert "bytes of an unfinished update at the end" in text
    assert "18 items can be retrieved" in text


def tuned(recall: float) -> dict[str, object]:
    """Describe an index that was to find 97 % and finds this share of 100."""
    levels = [{"depth": 100, "effort": 24, "proposals": 300, "recall": 0.98, "at_least": 0.97, "checked": recall}]
    promise = {"recall": 0.97, "deepest": 1_000, "scanned": 1_000}
    tuning = {"levels": levels, "promise": promise, "tuned_on": "queries", "queries": 256, "checked_on": 128}
    return {"kind": "inverted", "items": 10**6, "dimension": 64, "tuning": tuning | {"topic_recall": 0.975}}


@pytest.mark.parametrize(("recall", "level"), [(0.981, "ok"), (0.96, "warning")])
def test_what_was_tuned_is_said_depth_by_depth(recall: float, level: str, tmp_path: Path):
    publish_small(tmp_path, index=tuned(recall))
    found = inspect_release(ReleaseStore(tmp_path))
    texts = [finding.text for finding in found if finding.subject in {"index", "recall"}]
    assert texts == [
        "inverted, 1,000,000 items, 64 dimensions; tuned on 256 queries to recall 0.97, checked on 128 others",
        f"{recall:.3f} at depth 100: effort 24, 300 proposals",
        "0.975 within the largest topics",
    ]
    assert [finding.level for finding in found if finding.subject == "recall"] == [level, "ok"]
    assert max(finding.exit_code for finding in found) == 0, "a warning is not a failure"


def test_a_tuned_index_says_what_the_doctor_reads(tmp_path: Path):
    random = np.random.default_rng(0)
    vectors, queries = random.standard_normal((2_000, 8)), random.standard_normal((300, 8)).astype(np.float32)
    info = build_index(np.arange(2_000), vectors, IndexConfig(kind="inverted"), queries=queries).info()
    publish_small(tmp_path, index=info)
    subjects = [finding.subject for finding in inspect_release(ReleaseStore(tmp_path))]
    assert subjects.count("recall") == len(info["tuning"]["levels"]) > 0


def risks(tmp_path: Path, capsys, text: str) -> list[str]:
    """Return the risks of settings that ``serve`` accepts."""
    config = tmp_path / "serve.toml"
    config.write_text(text)
    assert run(["doctor", "--config", str(config), "--json"]) == 0, "a risk is no failure"
    findings = json.loads(capsys.readouterr().out.splitlines()[-1])["findings"]
    return [finding["text"] for finding in findings if finding["subject"] == "settings" and finding["level"] != "ok"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[keys]\nopen = true\n", "anyone who can reach it may read, write and erase"),
        ("[server]\nproxies = '127.0.0.1, *'\n", "any client may claim any address"),
        (
            "[state]\nstore = 'redis://states.example.org:6379'\n",
            "states.example.org: user states are sent in plain text",
        ),
        ("[logs]\nkeep_days = 0\nmax_gb = 0\n", "the logs grow until the disk is full"),
        ("", None),
        ("[state]\nstore = 'redis://localhost'\n", None),
        ("[state]\nstore = 'rediss://s.example.org'\n", None),
        ("[logs]\nmax_gb = 0\n", None),
    ],
)
def test_each_risk_of_the_settings_is_named(tmp_path: Path, capsys, text, told):
    found = risks(tmp_path, capsys, text)
    assert len(found) == (told is not None)
    assert all(told in one for one in found)


def test_settings_with_which_the_service_does_not_start_are_an_error(tmp_path: Path, capsys):
    config = tmp_path / "serve.toml"
    config.write_text("[server]\nhost = '0.0.0.0'\n")
    assert run(["doctor", "--config", str(config)]) == 2
    assert "no key is required; make keys" in capsys.readouterr().err


def test_files_that_others_may_read_or_write_are_named(tmp_path: Path, capsys):
    keys, config = tmp_path / "keys", tmp_path / "serve.toml"
    make_key(keys, "shop", ("recommend",))
    text = f"[keys]\nfile = '{keys}'\n[state]\nstore = 'rediss://:secret@states.example.org'\n"
    config.touch(0o600)
    assert risks(tmp_path, capsys, text) == []
    keys.chmod(0o666)
    assert risks(tmp_path, capsys, text) == [f"{keys}: other users can add keys to it; run chmod 600"]
    keys.chmod(0o600)
    config.chmod(0o644)
    [found] = risks(tmp_path, capsys, text)
    assert found.startswith(f"{config}: it contains the password")
    assert "secret" not in found
