"""``python -m benchmarks.simulate.orderings FOLDER``: did the orderings of the paper's online tests come back?

FOLDER is what ``multitudes simulate examples/orderings.toml`` wrote; those of its two control worlds are looked for
beside it, as FOLDER-one-taste and FOLDER-empty-follows. Writes benchmarks/results/orderings.json; seeds and arms that
are not lived to their end are left out.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.machine import ROOT, Circumstances
from multitudes.config import parse
from multitudes.report.simulated_record import EVERYBODY, Moved
from multitudes.simulate.config import ExperimentConfig
from multitudes.simulate.lifts import CORE, NON_CORE, Outcomes
from multitudes.simulate.spread import spread

RESULTS = ROOT / "benchmarks" / "results" / "orderings.json"
WORLDS = {"the world": "", "one taste": "-one-taste", "empty follows": "-empty-follows"}
METRICS = ("feed_saves", "saves", "adopted_topics", "hide")


class Claim(NamedTuple):
    """One arm against another, and what the paper says of it (saves in its home feed, percent, online)."""

    said: str
    arm: str
    control: str
    paper: str
    better: bool = True  # the arm is expected to be better than the control


CLAIMS = (
    Claim("the whole against one vector", "joint", "single", "+1.09"),
    Claim("the whole against a transformer's one vector", "joint", "transformer", ""),
    Claim("DCM against one vector", "clustering", "single", "+.86; core +1.23"),
    Claim("DCM against random parts of the history", "clustering", "random", ""),
    Claim("DCM against MIND", "clustering", "mind", "+.86 and +.43 (n.s.)"),
    Claim("DCM against self-attention", "clustering", "self_attention", "+.86 and +.83"),
    Claim("DCM against tokens", "clustering", "tokens", "+.86 and +.68"),
    Claim("without VA-FPI", "no_vafpi", "clustering", "offline less", better=False),
    Claim("without SAR", "no_sar", "clustering", "offline less", better=False),
    Claim("two interests, not four", "interests_2", "clustering", "less than with seven", better=False),
    Claim("even places, not by importance", "even", "clustering", "", better=False),
    Claim("the best scores of all lists, not turns", "global_top", "turns", "−.35", better=False),
    Claim("turns, not the mixture of this library", "turns", "clustering", "", better=False),
    Claim("CR with its filter against the inverted index", "conditional", "followed", "+.56; non-core +1.13"),
    Claim("CR with its filter against one vector", "conditional", "single", ""),
    Claim("CR without its filter against the inverted index", "unfiltered", "followed", "+.3 (n.s.)"),
    Claim("source interest against item interest", "conditional", "item_interest", "+.98; non-core +3.04"),
    Claim("both against implicit alone", "joint", "clustering", ""),
    Claim("both against explicit alone", "joint", "conditional", ""),
)


def measured(folder: Path) -> dict[str, Any]:
    """Return the record of the experiments in and beside ``folder``."""
    head, worlds = Circumstances(), {}
    for world, suffix in WORLDS.items():
        place = folder.with_name(folder.name + suffix)
        if (place / "experiment.json").exists():
            worlds[world] = _of(place)
    return {**head.head(), "worlds": worlds}


def _of(folder: Path) -> dict[str, Any]:
    config = whole(parse(ExperimentConfig, json.loads((folder / "experiment.json").read_text()), str(folder)), folder)
    outcomes = Outcomes(config, folder)
    claims = [claim for claim in CLAIMS if {claim.arm, claim.control} <= config.arms.keys()]
    shares: dict[str, dict[str, float]] = {}
    for arm, measure, value in spread(config, folder).iter_rows():
        shares.setdefault(measure, {})[arm] = value
    return {
        "seeds": list(config.seeds),
        "users": config.world.users,
        "items": config.world.items,
        "days": config.loop.days,
        "arms": list(config.arms),
        "lifts": {f"{claim.arm} / {claim.control}": dict(_lifts(outcomes, claim)) for claim in claims},
        "spread": shares,
    }


def whole(config: ExperimentConfig, folder: Path) -> ExperimentConfig:
    """Return an experiment without the seeds and arms that are not lived to their end."""

    def lived(seed: int, arm: str) -> bool:
        return (folder / f"seed-{seed}" / "arms" / arm / "outcomes.parquet").exists()

    seeds = tuple(seed for seed in config.seeds if lived(seed, config.compared_with))
    arms = {arm: own for arm, own in config.arms.items() if all(lived(seed, arm) for seed in seeds)}
    return config.model_copy(update={"seeds": seeds, "arms": arms})


def _lifts(outcomes: Outcomes, claim: Claim) -> Iterator[tuple[str, dict[str, Any]]]:
    for metric in METRICS:
        for cohort in (EVERYBODY, CORE, NON_CORE):
            yield f"{metric}, {cohort}", _row(outcomes.lift(metric, claim.arm, claim.control, cohort))


def _row(one: Moved) -> dict[str, Any]:
    return {"control": one.control, "treatment": one.treatment, "lift": one.lift, "low": one.low, "high": one.high}


def main() -> None:
    """Measure, and keep it."""
    record = measured(Path(sys.argv[1]))
    RESULTS.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
