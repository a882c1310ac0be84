"""``/docs``: all that ``/openapi.json`` describes is on a page that loads nothing, and its examples are answered."""

import re
import shlex
from base64 import b64encode
from dataclasses import replace
from hashlib import sha256
from html import unescape

import pytest

from multitudes.service.api_keys import ApiKeys, make_key
from multitudes.service.app import create_app
from multitudes.service.docs_page import docs_page
from tests.explorer.test_page import EVIL, Tags
from tests.service.conftest import ask, refusal, with_settings


@pytest.fixture(scope="module")
def page(plain_app) -> str:
    return ask(plain_app, "GET", "/docs").text


def values(html: str, *names: str) -> list[str]:
    return [value or "" for name, value in Tags(html).attributes if name in names]


def test_the_page_has_no_script_loads_nothing_and_its_policy_is_that_of_its_style(call):
    answer = call("GET", "/docs")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    (style,) = re.findall(r"<style>(.*?)</style>", answer.text, re.DOTALL)
    (policy,) = answer.headers.get_list("content-security-policy")
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert b64encode(sha256(style.encode()).digest()).decode() in policy
    assert "frame-ancestors 'none'" in policy
    assert "script" not in Tags(answer.text).names
    assert {link[0] for link in values(answer.text, "src", "href") if link != "data:,"} == {"#"}
    assert not re.search(r"\bstyle=|\son\w+=|url\(|@import", answer.text)


def test_every_link_leads_to_one_place(page):
    places = values(page, "id")
    assert len(places) == len(set(places))
    assert {link[1:] for link in values(page, "href") if link.startswith("#")} <= set(places)


def test_what_is_described_is_on_the_page(page, plain_app):
    text = unescape(re.sub(r"<[^>]+>", "", page))
    description = plain_app.openapi()
    for path, methods in description["paths"].items():
        for method, operation in methods.items():
            assert f"{method.upper()} {path}" in text
            assert operation["summary"]
            described = [operation, *operation.get("parameters", ())]
            for one in described:
                assert " ".join(one["description"].partition("\n\n")[0].split()).replace("`", "") in text, (path, one)
    for name, schema in description["components"]["schemas"].items():
        assert f'id="type-{name}"' in page
        for field, one in schema["properties"].items():
            assert f"<code>{field}</code>" in page
            assert one.get("description", "") in text, (name, field)
    assert "n integer 1 to 1,000 · default 100" in text
    assert "history list of up to 10,000: integer or text of 1 to 512 characters, or null" in text
    assert re.search(r"DELETE /v1/users/\{id\}Scope of the key: admin", text)
    assert re.search(r"POST /v1/eventsScope of the key: events or write", text)
    assert re.search(r"GET /healthzNeeds no key", text)


def test_every_example_is_answered_as_it_stands(page, plain_app):
    examples = [unescape(text) for text in re.findall(r"<pre>(curl .*?)</pre>", page, re.DOTALL)]
    assert len(examples) == sum(len(methods) for methods in plain_app.openapi()["paths"].values())
    for example in examples:
        words = iter(shlex.split(example.replace("\\\n", ""))[1:])
        method, url, body, headers = "", "", None, {}
        for word in words:
            if word == "-X":
                method = next(words)
            elif word == "-d":
                body = next(words).encode()
            elif word == "-H":
                name, _, value = next(words).partition(": ")
                headers[name] = value
            else:
                url = word.removeprefix("$URL")
        answer = ask(plain_app, method or ("POST" if body else "GET"), url, content=body, headers=headers)
        assert answer.status_code == 200, (example, answer.text)


def test_texts_are_texts(plain_app):
    described = plain_app.openapi()
    evil = {**described, "info": {**described["info"], "summary": EVIL, "description": EVIL, "title": EVIL}}
    tags = Tags(docs_page(evil).html)
    assert "script" not in tags.names
    assert "img" not in tags.names


def test_behind_keys_the_page_is_open_and_what_it_describes_is_not(deps, tmp_path):
    make_key(tmp_path / "keys", "reader", ("read",))
    app = create_app(replace(deps, keys=ApiKeys(tmp_path / "keys")))
    assert ask(app, "GET", "/docs").status_code == 200
    for method, path in (("POST", "/docs"), ("GET", "/docs/"), ("GET", "/openapi.json"), ("GET", "/v1/releases")):
        assert refusal(ask(app, method, path))[:2] == (401, "no_key")
    assert refusal(ask(create_app(deps), "GET", "/docs", base="http://evil.example"))[0] == 421


def test_what_is_switched_off_is_not_described(deps, page):
    off = ask(create_app(with_settings(deps, explorer={"enabled": False})), "GET", "/docs").text
    assert "/v1/explore" in page
    assert "/v1/explore" not in off
