"""Fuzzing: what outsiders hand over, changed at random; each time one line of error, or an answer as it should be.

Heads of requests in pieces, files of a release with right checksums, records of item updates, tables to import.
Hypothesis changes the inputs of ``reliability/corpus``, and makes what fails as small as it can; then that joins the
corpus, which every run tries first. The control is a reader of item updates that passes on what libraries raise.
"""

import asyncio
import hashlib
import json
import logging
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import MagicMock

import hypothesis
import polars as pl
from benchmarks.machine import ROOT
from hypothesis import strategies as st
from tests.release.small_release import publish_small
from uvicorn import Config
from uvicorn.server import ServerState

from multitudes.data.importing.importer import import_files
from multitudes.errors import explain
from multitudes.index.files import write_description
from multitudes.progress import Progress
from multitudes.release.delta_log import (
    FORMAT,
    FORMAT_VERSION,
    _decode,
    _frame,
    delta_log_file,
    release_identity,
)
from multitudes.release.manifest import read_manifest, write_manifest
from multitudes.retrieval.request import Request
from multitudes.retrieval.retriever import Retriever
from multitudes.service.app import create_app
from multitudes.service.http_protocol import SHEDDER, ServiceProtocol
from multitudes.service.load_shedding import LoadShedder
from multitudes.service.settings import load_settings
from multitudes.service.startup import open_dependencies
from multitudes.service.unsent_answers import UnsentAnswers
from reliability import SEED
from reliability.claims import TrialResult, at_most
from reliability.server import UNHURRIED

CORPUS = ROOT / "reliability" / "corpus"
_ROUND, _SECONDS = 50, 60.0  # examples of one seed; of all targets together at full size
_PIECES = [
    b"-1",
    b"9" * 20,
    b"1e999",
    b"null",
    b"[" * 5_000,
    b"{}",
    b"\xff" * 8,
    b"\0" * 8,
    b"../",
    b"\r\n",
    b'"',
    b",",
]
_PIECES += [
    b"content-length: 1\r\n",
    b"transfer-encoding: chunked\r\n",
    b"f" * 70_000,
    b"\xf0\x9f\x8e\xac",
    b"|S9",
    b"(1,",
]
Check = Callable[[bytes], object]  # raises what it should not
Target = Iterator[tuple[Check, list[bytes]]]  # with inputs beside those of the corpus


@st.composite
def _changes(draw: st.DrawFn, inputs: list[bytes]) -> bytes:
    """Draw one of the inputs, with a few pieces in place of others."""
    data = draw(st.sampled_from(inputs))
    for _ in range(draw(st.integers(0, 5))):
        at, size = draw(st.integers(0, len(data))), draw(st.integers(0, 12))
        piece = draw(st.binary(max_size=4) | st.sampled_from([*_PIECES, data[at : at + 40]]))
        data = data[:at] + piece + data[at + size :]
    return data


def _fails_in_one_line(call: Callable[[], object]) -> bool:
    """Return whether a call failed as it should; whatever else is raised is a defect."""
    try:
        call()
    except Exception as error:
        told = explain(error)
        if told is None or "\n" in str(told):
            raise
        return True
    return False


@contextmanager
def _http(folder: Path) -> Target:
    """Heads in pieces: no answer of 5xx, no exception, and the same answers as in one piece."""
    publish_small(folder / "releases")
    own = {"data": {"folder": folder / "data"}, "journal": {"level": "error"}}
    settings = load_settings(None, {}, {**own, **UNHURRIED})
    with open_dependencies(folder / "releases", settings) as deps, asyncio.Runner() as runner:
        config = Config(create_app(deps), lifespan="off", log_config=None)
        state = {SHEDDER: LoadShedder(deps, None)}

        def check(data: bytes) -> None:
            middle = hashlib.sha256(data).digest()[0] * len(data) // 256
            whole, split = (
                runner.run(_statuses(config, state, some)) for some in ([data], [data[:middle], data[middle:]])
            )
            before = zip(whole, split, strict=False)  # what is no HTTP ends a connection, with an answer that waits
            assert all(one == other or b"400" in {one, other} for one, other in before), (
                f"{whole}, in two pieces {split}"
            )
            assert not [status for status in whole if status >= b"500"], whole

        yield check, []


async def _statuses(config: Config, state: dict[str, Any], pieces: list[bytes]) -> list[bytes]:
    """Return the statuses of the answers to the bytes of a connection."""
    written = list[bytes]()
    transport: Any = MagicMock(write=written.append)
    transport.is_closing = lambda: transport.close.called
    transport.get_write_buffer_size.return_value = 0
    transport.get_extra_info = {"peername": ("127.0.0.1", 5), "sockname": ("127.0.0.1", 6)}.get
    server = ServerState()
    protocol = ServiceProtocol(config, server, state, unsent=UnsentAnswers(60))
    failed: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: failed.append(context.get("exception")))
    protocol.connection_made(transport)
    for piece in pieces:
        if not transport.close.called:
            protocol.data_received(piece)
        end_s = time.monotonic() + 0.02  # for an answer before the end of its request
        while server.tasks and (time.monotonic() < end_s or not protocol.cycle.more_body):
            await asyncio.sleep(0.001)
    protocol.connection_lost(None)
    if server.tasks:
        await asyncio.wait(server.tasks, timeout=30)
    assert not server.tasks, "an answer never ends"
    assert not failed, failed
    return [one[9:12] for one in written if one.startswith(b"HTTP/1.1 ")]


@contextmanager
def _release(folder: Path) -> Target:
    """Files of a release, by a first line with their name; checksums are right, as of somebody who changes it."""
    release = folder / "releases" / "versions" / publish_small(folder / "releases")

    def check(data: bytes) -> None:
        name, _, content = data.partition(b"\n")
        file = next((one for one in release.rglob("*") if str(one.relative_to(release)).encode() == name), None)
        if file is None or not file.is_file() or file.suffix == ".onnx":  # not ours to parse: the trial guards it
            return
        whole = {one: one.read_bytes() for one in release.rglob("*") if one.is_file()}
        try:
            file.write_bytes(content)
            if not _fails_in_one_line(partial(_sign, release)):
                _fails_in_one_line(partial(_answers, release))
        finally:
            for one, before in whole.items():
                one.write_bytes(before)

    files = [file for file in sorted(release.rglob("*")) if file.is_file() and file.suffix != ".onnx"]
    yield check, [str(file.relative_to(release)).encode() + b"\n" + file.read_bytes() for file in files]


def _sign(release: Path) -> None:
    """Make the checksums anew."""
    with suppress(ValueError, AttributeError, RecursionError):  # what is not to be read has no checksums to renew
        told = json.loads((release / "index" / "index.json").read_text())
        info = {name: told[name] for name in told if name not in {"xxh3", "format", "version", "files"}}
        write_description(release / "index", info)
    write_manifest(release, read_manifest(release))


def _answers(place: Path) -> None:
    retriever = Retriever.open(place)
    retriever.answer([Request(user_id=user, n=5) for user in ("ann", "bob")])


@contextmanager
def _delta_log(folder: Path) -> Target:
    """Contents of records whose checksums are right: set aside, or used."""
    release = folder / "releases" / "versions" / publish_small(folder / "releases")
    file = delta_log_file(release)
    assert file is not None
    file.parent.mkdir(exist_ok=True)
    head = f"{FORMAT} {FORMAT_VERSION} {release_identity(release)}\n".encode()

    def check(data: bytes) -> None:
        file.write_bytes(head + _frame(data))
        _answers(folder / "releases")

    yield check, []


@contextmanager
def _import(folder: Path) -> Target:
    """Tables, by a first line with the ending of their name; after an error nothing is written."""

    def check(data: bytes) -> None:
        ending, _, content = data.partition(b"\n")
        with TemporaryDirectory(dir=folder) as place:
            file = Path(place) / f"events.{ending.decode() if ending in {b'jsonl', b'tsv'} else 'csv'}"
            file.write_bytes(content)
            out = Path(place) / "out"
            failed = _fails_in_one_line(partial(import_files, file, out))
            assert out.exists() != failed, "an import that failed left something"

    yield check, []


_TARGETS: dict[str, Callable[[Path], AbstractContextManager[tuple[Check, list[bytes]]]]] = {
    "http": _http,
    "release": _release,
    "delta_log": _delta_log,
    "import": _import,
}


def trial(scale: float, folder: Path, progress: Progress, seconds: float | None = None) -> TrialResult:
    """Fuzz each target for a share of a minute, or of ``seconds`` with other changes each time."""
    seed = SEED if seconds is None else int(time.time())
    share_s = (seconds or _SECONDS * scale) / len(_TARGETS)
    tried, failed = dict[str, int](), 0
    for number, (target, opened) in enumerate(_TARGETS.items()):
        progress(number, len(_TARGETS), f"{target}, seed {seed}")
        (folder / target).mkdir()
        with opened(folder / target) as (check, inputs):
            inputs += [file.read_bytes() for file in sorted((CORPUS / target).iterdir())]
            tried[target], found = _fuzz(check, inputs, share_s, seed)
        failed += len(found)
        for data in found[-1:]:  # it is the smallest
            (CORPUS / target / hashlib.sha256(data).hexdigest()[:12]).write_bytes(data)
    updates = [file.read_bytes() for file in (CORPUS / "delta_log").iterdir()]
    _, control = _fuzz(lambda data: _decode(memoryview(data)), updates, _SECONDS, SEED)
    text = f"failures other than one line, in {sum(tried.values()):,} inputs"
    return TrialResult([at_most(0, text, failed, "a reader that passes on what libraries raise", len(control))], tried)


def _fuzz(check: Check, inputs: list[bytes], seconds: float, seed: int) -> tuple[int, list[bytes]]:
    """Try inputs, then changes of them until one fails or time is over; return how many, and those that failed."""
    tried, failed, end_s = 0, list[bytes](), time.monotonic() + seconds

    def once(data: bytes) -> None:
        nonlocal tried
        tried += 1
        try:
            check(data)
        except (Exception, pl.exceptions.PanicException) as error:
            failed.append(data)
            raise AssertionError(f"{data[:200]!r}: {type(error).__name__}: {error}") from error

    for data in inputs:
        with _report_errors():
            once(data)
    every = list(hypothesis.HealthCheck)
    limits = hypothesis.settings(max_examples=_ROUND, database=None, deadline=None, suppress_health_check=every)
    while not failed and time.monotonic() < end_s:
        seed += 1
        with _report_errors():
            hypothesis.seed(seed)(limits(hypothesis.given(_changes(inputs))(once)))()
    return tried, failed


@contextmanager
def _report_errors() -> Iterator[None]:
    """Print an error and go on; without the journal, in which what is set aside is a line each time."""
    logging.disable()
    try:
        yield
    except Exception:
        traceback.print_exc(limit=-3)
    finally:
        logging.disable(logging.NOTSET)
