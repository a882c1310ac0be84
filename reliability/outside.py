"""D6: a tower whose weights are in another file, which no checksum covers: such a release is not served.

ONNX Runtime before 1.24.1 reads such a file anywhere on the machine. Here it lies in the release, where every version
reads it; afterwards it changes, which nobody notices.
"""

from typing import Any

import numpy as np
import onnx

from multitudes.release.release import USER_TOWER
from reliability.codes import Code, without_effect
from reliability.world import World


def _attack(code: Code) -> dict[str, Any]:
    release = code.publish(World(items=200, users=20))
    tower = onnx.load(str(release / USER_TOWER))
    (release / USER_TOWER).unlink()
    onnx.save(
        tower, str(release / USER_TOWER), save_as_external_data=True, location="weights.bin", size_threshold=1_024
    )
    weights = np.fromfile(release / "weights.bin", np.float32)
    (release / "weights.bin").unlink()  # so that it gets no checksum
    code.sign(release)
    weights[::-1].tofile(release / "weights.bin")  # not the weights that were published
    try:
        with code.serving():
            return {"served": 1, "said": "served"}
    except RuntimeError as error:
        return {"served": 0, "said": str(error).strip().splitlines()[-1].replace(str(code.folder), "…")}


trial = without_effect(
    _attack,
    served="releases served with weights that no checksum covers",
)
