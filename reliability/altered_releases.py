"""D9: arrays of a release are changed and their checksums made anew: each change is refused in one line, or harmless.

What opens must answer as before; an error that is called a defect is a failure. Offsets are reversed, and no other
array: values in another order are another release, which nothing but a signature tells from the one that was published.
"""

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from multitudes.progress import Progress
from reliability.claims import TrialResult, at_most, at_scale
from reliability.codes import BEFORE, Code, both
from reliability.world import World

_ARRAYS = (
    *("item_topic_offset", "event_offset", "seen_offset", "follow_offset", "item_input", "item_count", "item_topic"),
    *("event_item", "event_time", "event_action", "seen_item", "follow_topic", "index/ids", "index/vectors"),
    *("index/topic_offset", "index/topic_row"),
)
_CHANGES = ("reversed", "cut", "far", "negative", "not finite", "empty")
# Each folder of releases is signed, opened and asked; a line of JSON for each says what came of it.
_TRY = """
import json, sys
from pathlib import Path
from multitudes.errors import MultitudesError
from multitudes.index import files
from multitudes.release import manifest
try:
    from multitudes.retrieval.retriever import Retriever
    from multitudes.retrieval.request import Request
except ImportError:
    from multitudes.retrieve.retriever import Retriever
    from multitudes.retrieve.ask import Ask as Request
read = getattr(manifest, "read_manifest", None) or manifest.read
write = getattr(manifest, "write_manifest", None) or manifest.write
def answers(folder):
    retriever = Retriever.open(folder)
    return [[(c.item_id, round(c.score, 4)) for c in retriever.answer([Request(user_id=u, n=10)])[0].candidates]
            for u in range(1, 6)]
intact = None
for folder in map(Path, json.loads(sys.argv[1])):
    index = json.loads((folder / "index" / "index.json").read_text())
    kept = {name: value for name, value in index.items() if name not in {"xxh3", "format", "version", "files"}}
    files.write_description(folder / "index", kept)
    write(folder, read(folder))
    try:
        found = answers(folder)
        intact = intact or found
        print("unchanged" if found == intact else "changed")
    except MultitudesError as error:
        print("refused" if "\\n" not in str(error) else "failed")
    except BaseException:
        print("failed")
"""


def trial(scale: float, folder: Path, progress: Progress) -> TrialResult:
    """Change one array after another."""
    all_changes = [(name, change) for name in _ARRAYS for change in _CHANGES]
    possible = [(name, change) for name, change in all_changes if change != "reversed" or name.endswith("_offset")]
    changes = possible[: at_scale(len(possible), scale, 12)]
    now, before = both(folder, lambda code: _attack(code, changes), progress)
    said = f"of {len(changes)} changes, opened with other answers, or failed"
    bad, bad_before = (one["changed"] + one["failed"] for one in (now, before))
    return TrialResult([at_most(0, said, bad, BEFORE, bad_before)], {"now": dict(now), "before": dict(before)})


def _attack(code: Code, changes: list[tuple[str, str]]) -> Counter[str]:
    release = code.publish(World(items=100, users=20, topics=4, width=8))
    folders = [release]
    for number, (name, change) in enumerate(changes):
        changed = code.folder / f"{number}"
        shutil.copytree(release, changed)
        file = changed / f"{name}.npy"
        array = np.load(file)
        other = _change(array, change)
        if other.shape == array.shape and np.array_equal(other, array):
            continue  # equal already
        np.save(file, other)
        folders.append(changed)
    outcomes = code.run(_TRY, json.dumps(list(map(str, folders)))).split()
    assert outcomes[0] == "unchanged", "the release itself"
    return Counter({"changed": 0, "failed": 0}) + Counter(outcomes[1:])


def _change(array: np.ndarray[Any, Any], change: str) -> np.ndarray[Any, Any]:
    if change == "reversed":
        return array[::-1].copy()
    if change == "cut":
        return array[:-1]
    if change == "empty":
        return array[:0]
    array, is_whole = array.copy(), array.dtype.kind in "iub"
    value = {"far": 10**6 if array.dtype.itemsize >= 4 else 100, "negative": -1}.get(change, np.nan)
    if array.dtype.kind == "f":
        array.flat[1] = {"far": 1e30, "negative": -1e30}.get(change, np.nan)
    elif is_whole and change != "not finite" and (value >= 0 or array.dtype.kind == "i"):
        array.flat[1] = value
    return array
