"""``python -m benchmarks.simulate.orderings FOLDER``: are the orderings of the paper's online tests reproduced?

FOLDER is written by ``multitudes simulate examples/orderings.toml``. The folders of its two control worlds are expected
beside it, as FOLDER-one-taste and FOLDER-empty-follows; if one is missing, its earlier record stays. Unfinished seeds
and arms are left out.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.machine import ROOT, MeasurementContext
from multitudes.atomic import write_json
from multitudes.config import parse
from multitudes.errors import MultitudesError, UsageError
from multitudes.report.simulation_result import ALL_USERS, ArmLift
from multitudes.simulation.config import ExperimentConfig
from multitudes.simulation.lifts import CORE, NON_CORE, UserOutcomes
from multitudes.simulation.results import impression_metrics

RESULTS = ROOT / "benchmarks" / "results" / "orderings.json"
WORLDS = {"the world": "", "one taste": "-one-taste", "empty follows": "-empty-follows"}
METRICS = ("feed_saves", "saves", "adopted_topics", "hide")


class Claim(NamedTuple):
    """One arm against another, with the paper's result (saves in the home feed, percent, online)."""

    said: str
    arm: str
    control: str
    paper: str
    better: bool = True  # the arm is expected to be better than the control


CLAIMS = (
    Claim("the whole against one vector", "joint", "single", "+1.09"),
    Claim("the list that training chooses, not the whole history alone", "joint", "one_vector", ""),
    Claim("several vectors against one, both calibrated", "calibrated", "single_calibrated", ""),
    Claim("calibrated, not fused alone", "calibrated", "uncalibrated", ""),
    Claim("interests against random parts of the history", "calibrated", "random", ""),
    Claim("one vector calibrated, not as it is", "single_calibrated", "single", ""),
    Claim("turns of several vectors against one vector", "turns", "single", "+1.09"),
    Claim("turns, not calibration", "turns", "calibrated", "", better=False),
    Claim("DCM against one vector", "clustering", "single", "+.86; core +1.23"),
    Claim("DCM against one vector, both calibrated", "clustering", "single_calibrated", ""),
    Claim("DCM against MIND", "clustering", "mind", "+.86 and +.43 (n.s.)"),
    Claim("DCM against self-attention", "clustering", "self_attention", "+.86 and +.83"),
    Claim("DCM against tokens", "clustering", "tokens", "+.86 and +.68"),
    Claim("without VA-FPI", "no_vafpi", "clustering", "offline less", better=False),
    Claim("without SAR", "no_sar", "clustering", "offline less", better=False),
    Claim("two interests, not four", "interests_2", "clustering", "less than with seven", better=False),
    Claim("even shares, not by importance", "even", "clustering", "", better=False),
    Claim("CR with its filter against the inverted index", "conditional", "followed", "+.56; non-core +1.13"),
    Claim("CR with its filter against one vector", "conditional", "single", ""),
    Claim("CR with its filter against CR without", "conditional", "unfiltered", "+.56 and +.3 (n.s.)"),
    Claim("CR without its filter against the inverted index", "unfiltered", "followed", "+.3 (n.s.)"),
    Claim("source interest against item interest", "conditional", "item_interest", "+.98; non-core +3.04"),
    Claim("both against implicit alone", "calibrated", "clustering", ""),
    Claim("both against explicit alone", "calibrated", "conditional", ""),
)


def measured(folder: Path, earlier: dict[str, Any]) -> dict[str, Any]:
    """Return the record of the experiments in and beside ``folder``; other worlds are those of an ``earlier`` record.

    Raises:
        UsageError: ``folder`` has no experiment, or none of its seeds is finished.
    """
    worlds = dict(earlier.get("worlds", {}))
    for world, suffix in WORLDS.items():
        place, head = folder.with_name(folder.name + suffix), MeasurementContext()
        config = lived(place)
        if config is not None:
            worlds[world] = _of(config, place) | head.head()
        elif place == folder:
            raise UsageError(
                f"{folder}: no experiment with a seed lived to its end; give what `multitudes simulate` wrote"
            )
    return {"worlds": {world: worlds[world] for world in WORLDS if world in worlds}}


def lived(folder: Path) -> ExperimentConfig | None:
    """Return the finished part of the experiment in a folder; None if no part is finished, or it is no experiment."""
    file = folder / "experiment.json"
    if not file.exists():
        return None
    config = whole(parse(ExperimentConfig, json.loads(file.read_text(encoding="utf-8")), str(folder)), folder)
    return config if config.seeds else None


def _of(config: ExperimentConfig, folder: Path) -> dict[str, Any]:
    outcomes = UserOutcomes(config, folder)
    claims = [claim for claim in CLAIMS if {claim.arm, claim.control} <= config.arms.keys()]
    shares: dict[str, dict[str, float]] = {}
    for arm, measure, value in impression_metrics(config, folder).iter_rows():
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
    """Return an experiment without its unfinished seeds and arms."""

    def ends(seed: int, arm: str) -> bool:
        return (folder / f"seed-{seed}" / "arms" / arm / "outcomes.parquet").exists()

    seeds = tuple(seed for seed in config.seeds if ends(seed, config.control_arm))
    arms = {arm: own for arm, own in config.arms.items() if all(ends(seed, arm) for seed in seeds)}
    return config.model_copy(update={"seeds": seeds, "arms": arms})


def _lifts(outcomes: UserOutcomes, claim: Claim) -> Iterator[tuple[str, dict[str, Any]]]:
    for metric in METRICS:
        for cohort in (ALL_USERS, CORE, NON_CORE):
            yield f"{metric}, {cohort}", _row(outcomes.lift(metric, claim.arm, claim.control, cohort))


def _row(one: ArmLift) -> dict[str, Any]:
    return {"control": one.control, "treatment": one.treatment, "lift": one.lift, "low": one.low, "high": one.high}


def main() -> None:
    """Measure, and write the record."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.simulate.orderings", description=__doc__)
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="what `multitudes simulate` wrote")
    parser.add_argument("--out", type=Path, default=RESULTS, help="record to write; default: %(default)s")
    given = parser.parse_args()
    earlier = json.loads(given.out.read_text(encoding="utf-8")) if given.out.exists() else {}
    try:
        write_json(given.out, measured(given.folder.resolve(), earlier))
    except MultitudesError as error:
        parser.exit(error.exit_code, f"{parser.prog}: {error}\n")


if __name__ == "__main__":
    main()
