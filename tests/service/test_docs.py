"""docs/service.md and service-settings.md say what the service does: addresses, errors and settings are the code's."""

import re
import tomllib
from pathlib import Path

from multitudes.service.auth import PUBLIC_PATHS, required_scope
from multitudes.service.errors import ERROR_CODES
from multitudes.service.settings import ServeConfig, environment_names, load_settings

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "service.md").read_text()
SETTINGS = (ROOT / "docs" / "service-settings.md").read_text()


def test_the_table_has_every_setting():
    assert SETTINGS.count("MULTITUDES_SERVE_") == len(environment_names())


def test_every_address_is_in_its_table_with_its_scope(plain_app):
    rows = re.findall(r"^\| `([A-Z]+) (/\S+)` \| (\w+) \|", PAGE, re.MULTILINE)
    paths = plain_app.openapi()["paths"] | {"/openapi.json": {"get": {}}}
    expected = {
        (method.upper(), path, "none" if path in PUBLIC_PATHS else required_scope(method.upper(), path))
        for path, methods in paths.items()
        for method in methods
    }
    assert set(rows) == expected


def test_every_code_of_an_error_is_in_its_table():
    rows = re.findall(r"^\| ([\d, ]+) \| ([`\w, ]+) \|", PAGE, re.MULTILINE)
    found = {
        int(status): code.strip("` ")
        for statuses, codes in rows
        for status, code in zip(statuses.split(","), codes.split(","), strict=True)
    }
    assert found == ERROR_CODES


def test_the_settings_that_are_deployed_are_known():
    for name in ("multitudes.service", "Containerfile"):
        text = (ROOT / "deploy" / name).read_text()
        given = dict(re.findall(r"(MULTITUDES_SERVE_\w+)=(\S+)", text))
        assert given, name
        assert load_settings(None, given, {}) != ServeConfig()
    assert {"serve", "redis"} <= set(
        tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    )
