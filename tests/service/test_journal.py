"""A line for each request that tells how it went and not who asked; errors with their cause."""

import json
import logging
import os
from collections.abc import Iterator
from dataclasses import replace
from io import StringIO
from threading import Thread
from typing import Any

import pytest

from multitudes.errors import DataError
from multitudes.service.app import create_app
from multitudes.service.journal import Journal, StandardError, configure_logging
from multitudes.service.settings import JournalConfig
from tests.service.conftest import ask

LONG_S = 300  # only so that a test that would hang fails
ANN = {"user_id": "ann", "n": 2}


def lines(written: StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in written.getvalue().splitlines()]


def journal(written: StringIO, **settings) -> Journal:
    return Journal(JournalConfig(**settings), written)


def test_a_line_says_how_a_request_went_and_not_who_asked(deps, written):
    app = create_app(deps)
    headers = {"x-request-id": "of-ann"}
    response = ask(app, "POST", "/v1/recommend", json={**ANN, "request_id": "ann again"}, headers=headers)
    ask(app, "POST", "/v1/recommend/batch", json={"requests": [ANN, {**ANN, "user_id": "nobody"}]})
    ask(app, "GET", "/v1/users/ann")
    one, batch, user = lines(written)
    assert (one["event"], one["level"], one["request_id"]) == (
        "request",
        "info",
        response.headers["x-request-id"],
    )
    assert (one["method"], one["route"], one["status"]) == ("POST", "/v1/recommend", 200)
    assert (one["release"], one["answers"], one["degraded"], one["candidates"]) == ("0001", 1, 0, 2)
    assert one["stages_ms"] == response.json()["timings_ms"]
    assert one["ms"] >= 0
    assert one["timestamp"].endswith("Z")
    assert (batch["answers"], batch["degraded"], batch["candidates"]) == (2, 1, 4)
    assert user["route"] == "/v1/users/{id:path}"
    assert "ann" not in written.getvalue()
    assert "nobody" not in written.getvalue()


def test_who_asked_is_told_where_the_settings_say_so(deps, written):
    loud = replace(deps, journal=journal(written, level="debug"))
    ask(create_app(loud), "POST", "/v1/recommend", json=ANN)
    assert lines(written)[0]["users"] == ["ann"]


def test_a_share_of_the_requests_has_lines_and_every_one_that_went_wrong(deps, written):
    app = create_app(replace(deps, journal=journal(written, requests=0)))
    ask(app, "POST", "/v1/recommend", json=ANN)
    assert written.getvalue() == ""
    deps.engine.error = KeyError("a defect")
    assert ask(app, "POST", "/v1/recommend", json=ANN).status_code == 500
    assert [line["event"] for line in lines(written)] == ["defect", "request"]
    assert {line["level"] for line in lines(written)} == {"error"}


@pytest.mark.parametrize(("share", "least", "most"), [(0, 0, 0), (0.25, 400, 600), (1, 2_000, 2_000)])
def test_the_share_of_requests_with_lines_is_as_set(share, least, most, written):
    sampled = journal(written, requests=share)
    for number in range(2_000):
        sampled.log_request({"method": "GET", "state": {"request_id": str(number)}}, "/healthz", 200, 0.001)
    assert least <= len(lines(written)) <= most


def failing() -> None:
    try:
        dict[str, int]()["key"]
    except KeyError as error:
        raise ValueError("it went\nwrong") from error


@pytest.mark.parametrize("level", ["info", "debug"])
def test_a_defect_has_its_cause_and_place_in_a_line_each_and_its_words_and_trace_where_asked_for(level, written):
    try:
        failing()
    except ValueError as error:
        journal(written, level=level).log_defect({"request_id": "r-1"}, error)
    [line] = lines(written)
    assert (line["event"], line["request_id"], line["level"]) == ("defect", "r-1", "error")
    said = ("ValueError: it went wrong", "KeyError: 'key'") if level == "debug" else ("ValueError", "KeyError")
    assert (line["error"], line["cause"]) == said
    assert line["where"].startswith("service/test_journal.py:")
    assert line["where"].endswith(" in failing")
    assert ("Traceback" in line.get("trace", "")) == (level == "debug")
    assert ("Traceback" in written.getvalue()) == (level == "debug")


@pytest.mark.parametrize("error", [KeyError("ann"), DataError("no space for it"), OSError("no space for it")])
def test_an_error_says_what_it_is_and_its_words_where_they_can_name_nobody(deps, written, error):
    deps.engine.error = error
    ask(create_app(deps), "POST", "/v1/recommend", json=ANN)
    journal(written).log_defect({"request_id": "r-1"}, error)
    assert "ann" not in written.getvalue()
    assert ("no space for it" in written.getvalue()) == (not isinstance(error, KeyError))


def test_the_place_of_a_defect_is_ours_and_not_in_a_library(deps, written):
    app = create_app(replace(deps, journal=journal(written)))
    deps.states.reads = None  # the fake fails where it would note the call
    assert ask(app, "POST", "/v1/recommend", json=ANN).status_code == 500
    where = lines(written)[0]["where"]
    assert where.startswith(("service/", "tests/service")), where


def test_what_is_less_than_the_level_is_not_written(deps, written):
    app = create_app(replace(deps, journal=journal(written, level="error")))
    ask(app, "POST", "/v1/recommend", json={**ANN, "context": {"page": "home"}})
    assert written.getvalue() == ""
    journal(written).log_context("r-1", {"page": "home"})
    assert lines(written)[0]["context"] == {"page": "home"}


@pytest.fixture
def speaker() -> Iterator[str]:
    name = "multitudes_test_speaker"
    yield name
    logger = logging.getLogger(name)
    logger.handlers, logger.propagate = [], True
    logger.setLevel(logging.NOTSET)


def test_what_others_say_has_the_same_form(speaker, written):
    configure_logging(JournalConfig(), speaker, stream=written)
    logger = logging.getLogger(f"{speaker}.inner")
    logger.info("chatter")
    logger.warning("%s fell over", "it")
    try:
        failing()
    except ValueError:
        logger.exception("it failed")
    said, failed = lines(written)
    assert (said["event"], said["level"], said["logger"]) == ("it fell over", "warning", f"{speaker}.inner")
    assert (failed["event"], failed["error"]) == ("it failed", "ValueError")
    assert "Traceback" not in written.getvalue()


def test_at_debug_others_may_chatter_and_text_is_for_people(speaker, written):
    configure_logging(JournalConfig(level="debug", format="text"), speaker, stream=written)
    logging.getLogger(speaker).info("chatter")
    journal(written, format="text").log_context("r-1", {"page": "home"})
    first, second = written.getvalue().splitlines()
    assert "chatter" in first
    assert "request_id=r-1" in second
    for line in (first, second):
        with pytest.raises(json.JSONDecodeError):
            json.loads(line)


def test_a_text_that_is_no_unicode_is_written_all_the_same(written):
    journal(written).log_context("r-1", {"page": "\ud800"})
    written.getvalue().encode()
    assert lines(written)[0]["context"] == {"page": "\ud800"}


def test_a_reader_that_has_gone_ends_nothing(deps):
    reading, writing = os.pipe()
    os.close(reading)
    with pytest.raises(BrokenPipeError):  # the control
        os.write(writing, b"a line\n")
    stream = StandardError(writing)
    app = create_app(replace(deps, journal=Journal(JournalConfig(), stream)))
    assert ask(app, "POST", "/v1/recommend", json=ANN).status_code == 200
    stream.drain(LONG_S)
    os.close(writing)


def test_a_pipe_that_nobody_reads_holds_up_no_line_and_what_is_dropped_is_counted(monkeypatch):
    monkeypatch.setattr("multitudes.service.journal._MAX_CHARACTERS", 200_000)
    reading, writing = os.pipe()
    stream = StandardError(writing)
    for number in range(400):  # of 1,000 characters each; a pipe takes 65,536
        stream.write(f"{number:999}\n")
    read: list[str] = []
    with os.fdopen(reading) as reader:
        thread = Thread(target=lambda: read.extend(reader))
        thread.start()
        stream.drain(LONG_S)
        stream.write("again\n")
        stream.drain(LONG_S)
        os.close(writing)
        thread.join(LONG_S)
    kept = [int(line) for line in read if line.strip().isdigit()]
    assert kept == sorted(set(kept))
    assert sum(json.loads(line)["lines"] for line in read if line.startswith("{")) == 400 - len(kept) > 0
    assert "again\n" in read


def test_a_text_journal_has_no_control_character_of_a_client(deps, written):
    text = journal(written, format="text")
    evil = "r\x1b[2J\x9b1m\u202e"
    body = {**ANN, "request_id": evil, "context": {evil: evil + "\r\nforged line"}}
    ask(create_app(replace(deps, journal=text)), "POST", "/v1/recommend", json=body)
    context, line = written.getvalue().splitlines()
    assert context.count("x1b[2J") == 2
    assert "x1b[2J" not in line
    assert all(char.isprintable() for char in line + context)
