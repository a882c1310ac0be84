"""docs/service.md says what the service does: its settings, addresses and errors are those of the code."""

import re
import tomllib
from pathlib import Path

from multitudes.service import settings_table
from multitudes.service.door import OPEN, scope_of
from multitudes.service.refusals import CODES
from multitudes.service.settings import ServeConfig, load, names

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "service.md").read_text()


def test_the_table_of_settings_is_the_one_that_the_settings_write():
    assert settings_table.written_into(PAGE) == PAGE
    assert PAGE.count("MULTITUDES_SERVE_") == len(names())


def test_every_address_is_in_its_table_with_its_scope(plain_app):
    rows = re.findall(r"^\| `([A-Z]+) (/\S+)` \| (\w+) \|", PAGE, re.MULTILINE)
    paths = plain_app.openapi()["paths"] | {"/openapi.json": {"get": {}}}
    expected = {
        (method.upper(), path, "none" if path in OPEN else scope_of(method.upper(), path))
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
    assert found == CODES


def test_the_settings_that_are_deployed_are_known():
    for name in ("multitudes.service", "Containerfile"):
        text = (ROOT / "deploy" / name).read_text()
        given = dict(re.findall(r"(MULTITUDES_SERVE_\w+)=(\S+)", text))
        assert given, name
        assert load(None, given, {}) != ServeConfig()
    assert {"serve", "redis"} <= set(
        tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    )
