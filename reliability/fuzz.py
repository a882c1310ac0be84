"""Fuzzing: what outsiders hand over, changed at random; each time one line of error, or an answer as it should be.

Heads of requests in pieces, files of a release with right checksums, records of item updates, tables to import.
Hypothesis changes the inputs of ``reliability/corpus``, and makes what fails as small as it can; then that joins the
corpus, which every run tries first. The control is a reader of item updates
that passes on what libraries raise.

``python -m reliability.fuzz [--seconds S] [--seed N] [target …]``; exit code 1 where something failed.
"""

import argparse
import asyncio
import hashlib
import json
import logging
import sys
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
import numpy as np
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
    Delta,
    _decode,
    _encode,
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
from reliability.claims import Found, at_most

CORPUS = ROOT / "reliability" / "corpus"
_ROUND, _SECONDS = 50, 60.0  # examples of one seed; of all targets together at full size
_TOKENS: dict[str, list[bytes]] = {
    "http": [b"\r\n", b"\0", b"content-length: 1\r\n", b"transfer-encoding: chunked\r\n", b"0\r\n\r\n", b"f" * 70_000],
    "release": [b"-1", b"9" * 20, b"1e999", b"null", b"[" * 5_000, b"{}", b"\xff" * 8, b"../", b"\0" * 8],
    "delta_log": [b"-1", b"9" * 20, b"null", b"\xff" * 8, b"\0" * 8, b"remove", b"|S9", b"(1,"],
    "import": [b",", b'"', b"\n", b"\0", b"\xff", b"9" * 30, b"1e999", b"\xf0\x9f\x8e\xac", b"{}", b"[" * 2_000, b"\r"],
}
Check = Callable[[bytes], object]  # raises what it should not
Target = Iterator[tuple[Check, list[bytes]]]  # with inputs beside those of the corpus


@st.composite
def _changed(draw: st.DrawFn, inputs: list[bytes], tokens: list[bytes]) -> bytes:
    """Draw one of the inputs, with a few pieces in place of others."""
    data = draw(st.sampled_from(inputs))
    for _ in range(draw(st.integers(0, 5))):
        at, size = draw(st.integers(0, len(data))), draw(st.integers(0, 12))
        piece = draw(st.binary(max_size=4) | st.sampled_from([*tokens, data[at : at + 40]]))
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
    settings = load_settings(None, {}, {"data": {"folder": folder / "data"}, "journal": {"level": "error"}})
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

    items = pl.DataFrame({"item_id": [201], "title": ["A"], "topics": [["Topic 1"]]})
    vectors = np.ones((1, 2), dtype=np.float32)
    deltas = (Delta("add", 100, items, 3 * vectors, vectors), Delta("remove", 200, items.select("item_id")))
    yield check, [_encode(delta) + b"." for delta in deltas]


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


@contextmanager
def _control(folder: Path) -> Target:
    """Records of item updates, whose reader passes on what libraries raise."""
    with _delta_log(folder) as (_, inputs):
        yield lambda data: bool(_decode(memoryview(data))), inputs


TARGETS: dict[str, Callable[[Path], AbstractContextManager[tuple[Check, list[bytes]]]]] = {
    "http": _http,
    "release": _release,
    "delta_log": _delta_log,
    "import": _import,
    "control": _control,
}


def fuzz(target: str, seconds: float, seed: int, corpus: Path = CORPUS) -> tuple[int, list[bytes]]:
    """Try the corpus of a target, then changes of it for so many seconds; return how many, and those that failed.

    Of the changes, the first that fails ends the search, and joins the corpus as small as it can be.
    """
    logging.disable()  # what is set aside is a line each time
    tried, failed, end_s = 0, list[bytes](), time.monotonic() + seconds
    with TemporaryDirectory(prefix="multitudes-fuzz-") as folder, TARGETS[target](Path(folder)) as (check, inputs):

        def once(data: bytes) -> None:
            nonlocal tried
            tried += 1
            try:
                check(data)
            except (Exception, pl.exceptions.PanicException) as error:
                failed.append(data)
                raise AssertionError(f"{target}: {data[:200]!r}: {type(error).__name__}: {error}") from error

        inputs += [file.read_bytes() for file in sorted((corpus / target).glob("*"))]
        for data in inputs:
            with _shown():
                once(data)
        known = len(failed)
        every = list(hypothesis.HealthCheck)
        limits = hypothesis.settings(max_examples=_ROUND, database=None, deadline=None, suppress_health_check=every)
        changed = hypothesis.given(_changed(inputs, _TOKENS.get(target, [])))
        while len(failed) == known and time.monotonic() < end_s:
            seed += 1
            with _shown():
                hypothesis.seed(seed)(limits(changed(once)))()
    if len(failed) > known:
        del failed[known:-1]  # the last is the smallest
        (corpus / target).mkdir(exist_ok=True)
        (corpus / target / hashlib.sha256(failed[-1]).hexdigest()[:12]).write_bytes(failed[-1])
    return tried, failed


@contextmanager
def _shown() -> Iterator[None]:
    try:
        yield
    except Exception:
        traceback.print_exc()


def trial(scale: float, folder: Path, progress: Progress) -> Found:
    """Fuzz each target for a share of a minute, and the control until it fails."""
    figures, failed = dict[str, int](), 0
    targets = [target for target in TARGETS if target != "control"]
    for number, target in enumerate(targets):
        progress(number, len(targets), target)
        figures[target], found = fuzz(target, _SECONDS * scale / len(targets), SEED)
        failed += len(found)
    _, control = fuzz("control", _SECONDS, SEED, folder)
    text = f"failures other than one line, in {sum(figures.values()):,} inputs"
    return Found([at_most(0, text, failed, "a reader that passes on what libraries raise", len(control))], figures)


def main() -> None:
    """Fuzz the named targets, all by default."""
    parser = argparse.ArgumentParser(prog="python -m reliability.fuzz")
    parser.add_argument("targets", nargs="*", metavar="target", help=", ".join(TARGETS))
    parser.add_argument("--seconds", type=float, default=_SECONDS, help="of all targets together")
    parser.add_argument(
        "--seed", type=int, default=int(time.time()), help="of the changes; by default another each time"
    )
    given = parser.parse_args()
    targets, failures = given.targets or [target for target in TARGETS if target != "control"], 0
    for target in targets:
        tried, failed = fuzz(target, given.seconds / len(targets), given.seed)
        print(f"{target}: {tried:,} inputs, {len(failed)} failed (seed {given.seed})")
        failures += len(failed)
    sys.exit(failures > 0)


if __name__ == "__main__":
    main()
