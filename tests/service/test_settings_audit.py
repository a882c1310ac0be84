"""Settings that risk something are named with what to do; those as shipped risk nothing."""

import os
from pathlib import Path
from typing import Any

import pytest

from multitudes.service.settings import ServeConfig
from multitudes.service.settings_audit import audit_settings

WITHOUT_KEYS = {"keys": {"open": True}}


def told(file: Path | None = None, history: int | None = None, **sections) -> list[str]:
    findings = audit_settings(ServeConfig.model_validate(sections), file, history)
    assert max(finding.exit_code for finding in findings) == 0, "a risk is no failure"
    return [finding.text for finding in findings if finding.level != "ok"]


def test_settings_as_they_come_risk_nothing():
    assert told(history=200) == []
    assert [finding.level for finding in audit_settings(ServeConfig())] == ["ok"]


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({"server": {"host": "0.0.0.0"}}, "without keys: the service will not start"),
        ({"server": {"host": "0.0.0.0"}, **WITHOUT_KEYS}, "everybody who reaches it may read, write and forget"),
        (WITHOUT_KEYS, "everybody whom a proxy lets through may read"),
        ({"server": {"host": "10.0.0.7"}}, "put a proxy with TLS in front of it"),
        ({"server": {"proxies": "127.0.0.1, *"}}, "any client may claim any address"),
        ({"http": {"body_bytes": 100_000_000}}, "body_bytes = 100,000,000"),
        ({"http": {"head_s": 300}}, "head_s = 300: slow clients hold connections"),
        ({"http": {"body_s": 300}}, "body_s = 300: slow clients hold connections"),
        ({"server": {"workers": 64}}, "workers = 64, and it may use"),
        ({"deadlines": {"default_ms": 40_000}}, "default_ms = 40000 is more than [server] drain_s = 30 s"),
        ({"deadlines": {"batch_ms": 40_000}}, "batch_ms = 40000 is more than [server] drain_s = 30 s"),
        ({"server": {"drain_s": 4}}, "batch_ms = 5000 is more than [server] drain_s = 4 s"),
        ({"guard": {"read_s": 0.4}}, "read_s = 0.4: a store that hangs takes more than half"),
        ({"engine": {"batch_s": 0.4}}, "batch_s = 0.4: requests that arrive while a batch runs"),
        ({"releases": {"vector_cache": 0}}, "no cached vectors to use"),
        (
            {"state": {"store": "redis://states.example.org:6379"}},
            "states.example.org: user states are sent in plain text",
        ),
        ({"logs": {"keep_days": 0, "max_gb": 0}}, "the logs grow until the disk is full"),
        ({"journal": {"users": True}}, "erased users stay in the journal"),
        ({"keys": {"file": "/nowhere/keys"}}, "cannot be examined; does it exist?"),
    ],
)
def test_each_risk_is_named(sections, said):
    assert sum(said in text for text in told(**sections)) == 1, told(**sections)


@pytest.mark.parametrize(
    "sections",
    [
        {"state": {"store": "redis://localhost"}},
        {"state": {"store": "rediss://states.example.org"}},
        {"state": {"store": "/var/lib/state.sqlite"}},
        {"logs": {"keep_days": 0}},
        {"http": {"body_bytes": 1 << 20}},
    ],
)
def test_what_only_looks_like_a_risk_is_none(sections):
    assert told(**sections) == []


def test_a_history_longer_than_what_is_kept_is_named():
    assert told(history=200, state={"keep": 200}) == []
    [text] = told(history=201, state={"keep": 200})
    assert "the release reads 201 events" in text


def test_files_that_others_may_read_or_write_are_named(tmp_path):
    keys, config = tmp_path / "keys", tmp_path / "serve.toml"
    for file in (keys, config):
        file.write_text("")
    sections: dict[str, Any] = {"keys": {"file": str(keys)}, "state": {"store": "rediss://:secret@states.example.org"}}
    keys.chmod(0o644)
    config.chmod(0o600)
    assert told(config, **sections) == []
    keys.chmod(0o666)
    config.chmod(0o644)
    found = told(config, **sections)
    assert [f"{keys}: others may add" in found[0], f"{config}: it contains the password" in found[1]] == [True, True]
    assert os.fspath(keys) in found[0]
    assert "secret" not in " ".join(found)
