"""D10: an item is removed and another added, and then another release serves: the one stays away, the other there."""

import time
from importlib.util import find_spec
from typing import Any

import polars as pl

from reliability.claims import SkippedError
from reliability.codes import Code, without_effect
from reliability.requests_in_turn import ask
from reliability.server import UNHURRIED, Server

_REMOVED, _ADDED, _SEEN_S = 105, 999, 3.0  # ann has not seen the one
_PUBLISH = """
import sys
from pathlib import Path
from tests.release.small_release import publish_small
publish_small(Path(sys.argv[1]))
"""


def _attack(code: Code) -> dict[str, Any]:
    if find_spec("pandera") is None:
        raise SkippedError("pandera, which the code before adds items with, is not installed")
    for _ in range(2):
        code.run(_PUBLISH, code.releases)
    removed, added = code.folder / "removed.csv", code.folder / "added.parquet"
    pl.DataFrame({"item_id": [_REMOVED]}).write_csv(removed)
    items = {"item_id": [_ADDED], "topics": [["Drama"]], "title": ["New"], "embedding": [[3.0, 0.0]]}
    pl.DataFrame(items, schema_overrides={"embedding": pl.List(pl.Float32)}).write_parquet(added)
    with code.serving(UNHURRIED) as server:
        for words in (("items", "remove", code.releases, removed), ("items", "add", code.releases, added)):
            done = code.command(*words)
            assert done.returncode == 0, done.stderr
        changed = _candidates(server)
        assert (_REMOVED in changed, _ADDED in changed) == (False, True), changed
        rolled_back = code.command("rollback", code.releases)
        candidates = _candidates(server)
    said = (rolled_back.stdout + rolled_back.stderr).strip().replace(str(code.folder), "…")
    return {"back": int(_REMOVED in candidates), "missing": int(_ADDED not in candidates), "said": said}


def _candidates(server: Server) -> set[int]:
    time.sleep(_SEEN_S)
    answer = ask(server, "POST", "/v1/recommend", {"user_id": "ann", "n": 20})
    return {one["item_id"] for one in answer.record["candidates"]}


trial = without_effect(
    _attack,
    back="removed items that are recommended after a rollback",
    missing="added items that are not, after a rollback",
)
