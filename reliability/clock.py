"""D11 and D12: the clock of the machine jumps 100 days ahead for a moment, and later two hours back.

No segment of a log is removed, and new events of a user who was erased before are taken for new. The processes read
their time from a file; retention looks every second in place of every minute.
"""

import time
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from reliability.codes import Code, without_effect
from reliability.requests_in_turn import ask, send_event, wait_until
from reliability.world import FIRST_ITEM, World

_DAY_S, _HOURS_S, _SEGMENTS = 86_400, 7_200, 3
_CLOCK = """
import time
real = time.time
def moved():
    try:
        return real() + float(open({file!r}).read() or 0)
    except OSError:
        return real()
time.time = moved
try:
    import multitudes.logs.logs as logs
    logs._RETENTION_INTERVAL_S = 1.0
except ImportError:
    pass
"""


def _attack(code: Code) -> dict[str, Any]:
    code.publish(World(items=200, users=20))
    clock, segments = code.folder / "clock", code.folder / "service" / "logs" / "events"
    moved = _CLOCK.format(file=str(clock))
    with code.serving({"logs": {"segment_s": 1, "keep_days": 90}}, before=moved) as server:
        for number in range(_SEGMENTS):
            send_event(server, 1 + number, f"e-{number}", FIRST_ITEM)
            wait_until(partial(_has_rows, segments, 1 + number))
        clock.write_text(str(100 * _DAY_S))
        time.sleep(5)
        clock.write_text("0")
        time.sleep(2)
        removed = _SEGMENTS - len(list(segments.glob("*.parquet")))
        assert ask(server, "DELETE", "/v1/users/5").status == 200
        clock.write_text(str(-_HOURS_S))
        answers = [send_event(server, 5, f"new-{number}", FIRST_ITEM + number) for number in range(3)]
        dropped = sum(one.record["repeated"] for one in answers)
    return {"removed": removed, "dropped": dropped}


def _has_rows(folder: Path, rows: int) -> bool:
    files = list(folder.glob("*.parquet"))
    return bool(sum(pl.scan_parquet(file).select(pl.len()).collect().item() for file in files) >= rows)


trial = without_effect(
    _attack,
    removed=f"of {_SEGMENTS} segments, removed by a jump",
    dropped="new events of an erased user, dropped",
)
