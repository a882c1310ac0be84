"""Responses and events of a tiny service, and the contents of a folder of segments."""

import json
import subprocess
import sys
from pathlib import Path

import polars as pl

from multitudes.logs import folder as places
from multitudes.logs.config import LogConfig
from multitudes.logs.logs import Logs
from multitudes.logs.schemas import IdTypes, LoggedEvent, Origin, ServedResponse

TEXT = IdTypes("string", "int64")
NOW = 1_700_000_000
IMPLICIT, DRAMA, POPULAR = (
    Origin("implicit", 0, "Sci-Fi", None),
    Origin("explicit", 7, "Drama", "Drama"),
    Origin("popular"),
)


def answer(user="ann", request="r1", items=(1, 2, 3), time_s=NOW, origin=(0, 1, 2)):
    """Return a response with three candidates: of an implicit interest, of the topic Drama, and a popular one."""
    scores = [1.5 - 0.25 * i for i in range(len(items))]
    return ServedResponse(
        request, user, time_s, "v1", False, items, scores, (IMPLICIT, DRAMA, POPULAR), origin[: len(items)]
    )


def event(number, user="ann", item=1, time_s=NOW):
    return LoggedEvent(f"e{number}", user, item, time_s, "save", None)


def logs(folder: Path, id_types: IdTypes = TEXT, **settings) -> Logs:
    return Logs(folder, id_types, LogConfig.model_validate(settings))


def rows(folder: Path) -> pl.DataFrame:
    """Return all rows of all segments, in the order of the segments."""
    files = sorted(folder.glob("*.parquet"))
    none = pl.DataFrame({"event_id": [], "user_id": []})
    return pl.concat([pl.read_parquet(file) for file in files]) if files else none


def segments(folder: Path) -> list[str]:
    return [file.name for file in places.list_segments(folder)]


def spools(folder: Path) -> list[str]:
    return [file.name for file in places.list_spools(folder)]


def erasure_requests(folder: Path) -> list[str]:
    return [file.name for file in places.working_folder(folder).glob("forget-*")]


class Process:
    """Another process that writes to the same folder: it appends events on request and acknowledges each."""

    def __init__(self, folder: Path) -> None:
        code = "from tests.logs.worlds import write_on_request; write_on_request()"
        self._child = subprocess.Popen(
            [sys.executable, "-c", code, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def log_events(self, *numbers: int, user: str = "ann") -> None:
        assert self._child.stdin
        assert self._child.stdout
        self._child.stdin.write(json.dumps([user, numbers]) + "\n")
        self._child.stdin.flush()
        assert self._child.stdout.readline() == "there\n"

    def kill(self) -> None:
        self._child.kill()
        self._child.wait()
        for pipe in (self._child.stdin, self._child.stdout):
            assert pipe
            pipe.close()


def write_on_request() -> None:
    """Run as the other process."""
    written = logs(Path(sys.argv[1]))
    for line in sys.stdin:
        user, numbers = json.loads(line)
        assert written.log_events([event(number, user) for number in numbers])
        sys.stdout.write("there\n")
        sys.stdout.flush()
