"""The pages of the service say what it does: addresses, scopes, errors and settings are the code's."""

import re
import tomllib
from pathlib import Path

from multitudes.service.auth import PUBLIC_PATHS, required_scope
from multitudes.service.errors import ERROR_CODES
from multitudes.service.settings import ServeConfig, environment_names, load_settings

ROOT = Path(__file__).parents[2]
PAGES = "".join((ROOT / "docs" / name).read_text() for name in ("http.md", "http-explorer.md", "service.md"))
SETTINGS = (ROOT / "docs" / "service-settings.md").read_text()


def test_every_setting_and_every_error_is_documented():
    assert SETTINGS.count("MULTITUDES_SERVE_") == len(environment_names())
    rows = re.findall(r"\b(\d{3})(?: \|)? `(\w+)`", PAGES)
    assert {int(status): code for status, code in rows} == ERROR_CODES


def test_every_address_is_documented_with_its_scope(plain_app):
    rows = re.findall(r"^## ([A-Z]+) (/\S+)\n.*?Key: `?(\w+)", PAGES, re.MULTILINE | re.DOTALL)
    paths = plain_app.openapi()["paths"]
    expected = {
        (method.upper(), path, "none" if path in PUBLIC_PATHS else required_scope(method.upper(), path))
        for path, methods in paths.items()
        for method in methods
    }
    assert set(rows) == expected


def test_the_settings_that_are_deployed_are_known():
    for name in ("multitudes.service", "Containerfile"):
        text = (ROOT / "deploy" / name).read_text()
        given = dict(re.findall(r"(MULTITUDES_SERVE_\w+)=(\S+)", text))
        assert given, name
        assert load_settings(None, given, {}) != ServeConfig()
    assert {"serve", "redis"} <= set(
        tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    )
