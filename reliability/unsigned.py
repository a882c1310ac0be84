"""D23: a trusted key is given, and who can write the folder of releases makes the service serve what nobody signed.

A tower is mapped and its pages are made dirty before the release is checked; after the check it is changed through the
mapping, which moves no time of the file. And an item update with right checksums is put beside the signed release.
"""

import json
from pathlib import Path
from typing import Any

from multitudes.progress import Progress
from reliability.claims import TrialResult, at_most, at_scale
from reliability.codes import Code, both
from reliability.world import FIRST_ITEM, World

_COMMIT = "eaed4ff"  # the first of these attacks was made on it
_CONTROL = f"commit {_COMMIT}"
# Signs the release and opens it as a service does, again and again; prints how often what nobody signed was served.
_TRY = """
import json, mmap, shutil, sys
from pathlib import Path
import onnx, polars as pl
from multitudes.errors import ArtefactError
from multitudes.release import delta_log, release, signature
from multitudes.retrieval.request import Request
from multitudes.retrieval.retriever import Retriever

published, folder, item = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[4])
_, (public, _) = folder.mkdir(), signature.make_key_pair(folder.with_name("key"))
key, open_tower = signature.read_private_key(folder.with_name("key")), release.open_tower

def ask(releases, trust=None):
    answer = Retriever.open(releases, trust=trust).answer([Request(history=[item], n=20)])[0]
    return [(one.item_id, round(one.score, 4)) for one in answer.candidates]

def opens_changed(releases, expected):
    tower = next(releases.glob("versions/*")) / release.USER_TOWER
    signed, model = tower.read_bytes(), onnx.load(str(tower))
    for node in model.graph.node:
        node.op_type = {"Mul": "Sub"}.get(node.op_type, node.op_type)  # other vectors of histories
    other = model.SerializeToString()
    assert len(other) == len(signed) and other != signed
    with tower.open("r+b") as stream, mmap.mmap(stream.fileno(), 0) as mapping:
        mapping[:] = signed  # dirty
        def change_and_open(*arguments):
            mapping[:] = other
            return open_tower(*arguments)
        release.open_tower = change_and_open
        try:
            return ask(releases, public) != expected
        except ArtefactError:
            return False
        finally:
            release.open_tower = open_tower
            mapping[:] = signed

def serves_update(releases):
    version = next(releases.glob("versions/*"))
    delta = delta_log.Delta("remove", 1, pl.DataFrame({"item_id": [ask(releases)[0][0]]}))
    expected = ask(releases, public)
    delta_log.append_delta(delta_log.delta_log_file(version), delta_log.release_identity(version), delta)
    assert ask(releases) != expected, "the update has no effect"
    try:
        return ask(releases, public) != expected
    except ArtefactError:
        return False

counts = {"tower": 0, "update": 0}
for number in range(int(sys.argv[3])):
    releases = shutil.copytree(published, folder / str(number))
    signature.sign_release(next(releases.glob("versions/*")), key)
    counts["tower"] += opens_changed(releases, ask(releases))
    counts["update"] += serves_update(releases)
print(json.dumps(counts))
"""


def trial(scale: float, folder: Path, progress: Progress) -> TrialResult:
    """Change a tower after its check and add an unsigned item update, once for each copy of a release."""
    tries = at_scale(20, scale, 4)

    def attack(code: Code) -> dict[str, Any]:
        code.publish(World(items=200, users=20))
        counts: dict[str, Any] = json.loads(code.run(_TRY, code.releases, code.folder / "copies", tries, FIRST_ITEM))
        return counts

    now, before = both(folder, attack, progress, _COMMIT)
    said = {"tower": "with a tower", "update": "with item updates"}
    claims = [
        at_most(0, f"of {tries} signed releases, served {text} that nobody signed", now[name], _CONTROL, before[name])
        for name, text in said.items()
    ]
    return TrialResult(claims, {"now": now, "before": before})
