"""Requests made up from the published description, right and wrong ones: none fails, and each answer is as described.

Schemathesis makes them up. The control is said to be the same, and takes what comes for what it should be.
"""

import json
from importlib.util import find_spec
from pathlib import Path
from urllib.request import urlopen

from multitudes.progress import Progress
from reliability.claims import TrialResult, at_most, at_scale
from reliability.naive import naive
from reliability.server import UNHURRIED, serving
from reliability.world import World, publish_world

WHY_NOT = "schemathesis is not installed; install with: pip install 'multitudes[reliability]'"
_CONTROL = 100  # cases


def trial(scale: float, folder: Path, progress: Progress) -> TrialResult:
    """Generate requests to every address of the service, and to the control."""
    if find_spec("schemathesis") is None:
        return TrialResult([], {}, WHY_NOT)
    from reliability.generated_requests import send_requests  # noqa: PLC0415 (an extra)

    publish_world(folder / "releases", world=World(items=200, users=20))
    with serving(folder / "releases", folder / "service", UNHURRIED) as server:
        with urlopen(f"{server.url}/openapi.json") as answer:
            description = json.load(answer)
        outcomes = send_requests(description, server.url, at_scale(5_000, scale, 40), progress)
    with naive("trusting", folder / "control") as control:
        naive_outcomes = send_requests(description, control.url, _CONTROL, progress)
    said = "a service that takes what comes"
    return TrialResult(
        [
            at_most(0, f"{what} in {outcomes['cases']:,} cases", outcomes[key], said, naive_outcomes[key])
            for what, key in (("answers of 5xx", "failed"), ("answers that are not as described", "undescribed"))
        ],
        {"outcomes": dict(sorted(outcomes.items())), "control": dict(sorted(naive_outcomes.items()))},
    )
