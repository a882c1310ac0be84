"""kill −9 while publishing: a reader finds whole releases, of which one serves, whenever the publisher dies.

The control writes where readers look, as one would who does not think of crashes.
"""

from pathlib import Path

from tests.release.killed import torn_releases

from multitudes.progress import Progress
from reliability.claims import TrialResult, at_most, at_scale


def trial(scale: float, folder: Path, progress: Progress) -> TrialResult:
    """Kill publishers at random moments."""
    kills, together = at_scale(300, scale, 4), 50
    torn = done = 0
    while done < kills:
        some = min(together, kills - done)
        torn += torn_releases(folder / f"safe-{done}", "publish", some, seed=done)
        done += some
        progress(done, kills, f"{torn} torn")
    control_kills = max(15, kills // 20)
    control = torn_releases(folder / "naive", "publish_naively", control_kills)
    return TrialResult(
        [at_most(0, "torn releases", torn, f"written in place, {control_kills} kills", control)],
        {"kills": kills},
    )
