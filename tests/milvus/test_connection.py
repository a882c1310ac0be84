"""Which requests are retried, and what is sent where; no server is called."""

import socket
from contextlib import closing
from pathlib import Path

import pytest

pytest.importorskip("pymilvus", reason="pymilvus is not installed; run make test-milvus")

import grpc
from pymilvus import MilvusException

from multitudes.config import parse
from multitudes.errors import UnavailableError, UsageError
from multitudes.index.factory import load_index
from multitudes.index.files import write_description
from multitudes.index.tuning import RecallTarget, Tuning
from multitudes_milvus.config import MilvusConfig
from multitudes_milvus.connection import CallFailedError, Connection, deadline, remaining_s
from multitudes_milvus.search import SearchParameters
from tests.ports import free_port

BROKEN = CallFailedError(grpc.StatusCode.UNAVAILABLE, "connection reset")
NOT_SERVED = MilvusException(65535, "failed to get delegator")
GONE = MilvusException(100, "collection not found")
LATE = CallFailedError(grpc.StatusCode.DEADLINE_EXCEEDED, None)


@pytest.fixture
def connection(monkeypatch: pytest.MonkeyPatch) -> Connection:
    monkeypatch.setattr(Connection, "_open_client", lambda _self: None)
    return Connection(MilvusConfig(timeout_s=60))


@pytest.mark.parametrize(
    ("failures", "settings", "asked", "said"),
    [
        ([BROKEN], {}, 2, None),
        ([NOT_SERVED], {}, 2, None),
        ([BROKEN, BROKEN], {}, 2, "greet: cannot be reached"),  # not a third time, though that would be answered
        ([GONE], {}, 1, "is gone"),
        ([LATE], {}, 1, "no answer within"),
        ([BROKEN], {"retry": False}, 1, "cannot be reached"),
    ],
)
def test_a_transient_failure_is_retried_once_and_a_permanent_one_is_not(connection, failures, settings, asked, said):
    calls: list[int] = []

    def answer(_client: object) -> str:
        calls.append(1)
        if len(calls) <= len(failures):
            raise failures[len(calls) - 1]
        return "an answer"

    if said is None:
        assert connection.call("greet", answer, **settings) == "an answer"
    else:
        with pytest.raises(UnavailableError, match=said):
            connection.call("greet", answer, **settings)
    assert len(calls) == asked


def test_nothing_is_retried_after_the_deadline_and_an_error_in_the_request_is_not_blamed_on_the_server(connection):
    calls: list[int] = []

    def broken(_client: object) -> None:
        calls.append(1)
        raise BROKEN

    with deadline(0.01), pytest.raises(UnavailableError):  # less than the pause before the second time
        connection.call("greet", broken)
    assert len(calls) == 1
    with pytest.raises(ZeroDivisionError):
        connection.call("greet", lambda _client: 1 / 0)


def test_a_deadline_within_another_does_not_move_it():
    with deadline(50), deadline(100):
        assert remaining_s() < 51
    with deadline(50):
        with deadline(1):
            assert remaining_s() < 2
        assert remaining_s() > 2


@pytest.mark.parametrize("uri", ["localhost:19530", "http://root:sesame@localhost:19530", "./milvus.db"])
def test_an_address_that_is_invalid_or_has_a_password_is_rejected(uri: str):
    with pytest.raises(UsageError, match="uri"):
        parse(MilvusConfig, {"uri": uri}, "[index.options]")
    assert parse(MilvusConfig, {"uri": "https://milvus.example:443"}, "[index.options]")


def describe_collection(folder: Path, server: dict[str, object]) -> None:
    """Write the description of a collection, as it stands in a release."""
    tuning = SearchParameters(Tuning((), RecallTarget(0.97, 10, 10), "items with noise", 1, 1), {}).to_record()
    identity = {"items": 1, "dimension": 2, "digest": "d", "capacity": 1, "length": 1.0}
    info = {"kind": "milvus", "items": 1, "dimension": 2, "collection": "c", "server": server, "tuning": tuning}
    write_description(folder, info | {"identity": identity})


def test_a_release_that_names_a_server_gets_no_variable_of_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("SECRET", "sesame")
    monkeypatch.setenv("MILVUS_URI", f"http://127.0.0.1:{free_port()}")
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        listener.settimeout(0.5)
        named = {"uri": f"http://127.0.0.1:{listener.getsockname()[1]}", "token_variable": "SECRET", "timeout_s": 1}
        describe_collection(tmp_path, named)
        with pytest.raises(UnavailableError, match="MILVUS_URI"):
            load_index(tmp_path)
        with pytest.raises(TimeoutError):
            listener.accept()
