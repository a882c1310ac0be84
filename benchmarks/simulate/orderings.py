"""``python -m benchmarks.simulate.orderings FOLDER [FOLDER …]``: the arms of simulated experiments, world by world.

Each FOLDER is written by ``multitudes simulate examples/orderings.toml``, for the default world or another
(``--control-world``, ``--set loop.ranker=learns``, …). A world that is not given keeps its earlier record. Unfinished
seeds and arms are left out. ``python -m benchmarks.simulate.orderings_page`` makes the page.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.machine import ROOT, MeasurementContext
from benchmarks.records import read_records
from multitudes.atomic import write_json
from multitudes.config import parse
from multitudes.errors import MultitudesError, UsageError
from multitudes_lab.simulation import constants
from multitudes_lab.simulation.config import ExperimentConfig, LoopConfig
from multitudes_lab.simulation.lifts import ALL_USERS, CORE, NON_CORE, ArmLift, UserOutcomes
from multitudes_lab.simulation.results import impression_metrics
from multitudes_lab.simulation.world_config import CONTROLS, WorldConfig

RESULTS = ROOT / "benchmarks" / "results" / "orderings.json"
DEFAULT = "default"
_MANY_ITEMS = 10_000  # from here on the size of a world is in its name
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
    Claim("the same, against one vector that is calibrated", "joint", "single_calibrated", ""),
    Claim("several vectors against one, both calibrated", "calibrated", "single_calibrated", ""),
    Claim("the same, one model", "calibrated", "one_vector_calibrated", ""),
    Claim("the same, without followed topics", "no_topics", "one_vector_calibrated", ""),
    Claim("the same, without interests", "topics_alone", "one_vector_calibrated", ""),
    Claim("followed topics alone, not interests too", "topics_alone", "calibrated", ""),
    Claim("calibrated, not fused alone", "calibrated", "uncalibrated", ""),
    Claim("interests against random parts of the history", "calibrated", "random", ""),
    Claim("one vector calibrated, not as it is", "single_calibrated", "single", ""),
    Claim("one vector re-ranked by MMR, not as it is", "mmr", "single", ""),
    Claim("one vector re-ranked by a DPP, not as it is", "dpp", "single", ""),
    Claim("several vectors calibrated, not one re-ranked by MMR", "calibrated", "mmr", ""),
    Claim("several vectors calibrated, not one re-ranked by a DPP", "calibrated", "dpp", ""),
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
    Claim("CR with its filter against the inverted index", "conditional", "followed", "+.56; non-core +1.13"),
    Claim("CR with its filter against one vector", "conditional", "single", ""),
    Claim("CR with its filter against one vector, both calibrated", "conditional", "single_calibrated", ""),
    Claim("CR with its filter against CR without", "conditional", "unfiltered", "+.56 and +.3 (n.s.)"),
    Claim("CR without its filter against the inverted index", "unfiltered", "followed", "+.3 (n.s.)"),
    Claim("source interest against item interest", "conditional", "item_interest", "+.98; non-core +3.04"),
    Claim("both against implicit alone", "both", "clustering", ""),
    Claim("both against explicit alone", "both", "conditional", ""),
    Claim("both, without the linear history", "both", "calibrated", ""),
)


def make_record(folders: Sequence[Path], earlier: dict[str, Any]) -> dict[str, Any]:
    """Return the record of the experiments in ``folders``; other worlds are those of an ``earlier`` record.

    Raises:
        UsageError: a folder has no experiment, or none of its seeds is finished; or two are of one world.
    """
    worlds: dict[str, Any] = {}
    for folder in folders:
        head, config = MeasurementContext(), finished_part(folder)
        name = world_name(config)
        if name in worlds:
            raise UsageError(f"{folder}: a second experiment in the world '{name}'; give one folder for each world")
        worlds[name] = _of(config, folder) | head.head()
    merged = earlier.get("worlds", {}) | worlds
    return {"worlds": {name: merged[name] for name in sorted(merged, key=_place)}}


def finished_part(folder: Path) -> ExperimentConfig:
    """Return the finished part of the experiment in a folder.

    Raises:
        UsageError: no seed is finished, it is no experiment, or it has a world that can no longer be made.
    """
    file = folder / "experiment.json"
    if file.exists():
        config = whole(_parse_experiment(json.loads(file.read_text(encoding="utf-8")), folder), folder)
        if config.seeds:
            return config
    raise UsageError(f"{folder}: no experiment with a finished seed; give what `multitudes simulate` wrote")


def _parse_experiment(settings: dict[str, Any], folder: Path) -> ExperimentConfig:
    """Return what the results need of an experiment, which may be of an earlier state of the settings."""
    gone = settings["world"].keys() - WorldConfig.model_fields.keys()
    today = {name: getattr(constants, name.upper(), 0) for name in gone}  # what is no constant either, was off
    changed = sorted(name for name in gone if not np.array_equal(settings["world"][name], today[name]))
    if changed:
        raise UsageError(f"{folder}: [world] {', '.join(changed)} can no longer be set; expected the value of today")
    world = {name: value for name, value in settings["world"].items() if name not in gone}
    arms: dict[str, Any] = {arm: {} for arm in settings["arms"]}
    kept = {name: settings[name] for name in ("name", "seeds", "control", "loop")}
    return parse(ExperimentConfig, kept | {"world": world, "arms": arms}, str(folder))


def world_name(config: ExperimentConfig) -> str:
    """Return what distinguishes the world and the loop of an experiment."""
    world, loop, default = config.world, config.loop, LoopConfig()
    control = [name for name, own in CONTROLS.items() if all(getattr(world, key) == own[key] for key in own)]
    parts = control or [DEFAULT]
    if loop.ranker != default.ranker:
        parts.append(f"ranker {loop.ranker}")
    if loop.retrain_every:
        parts.append(f"trained every {loop.retrain_every} days")
    if world.items >= _MANY_ITEMS:
        parts.append(f"{world.items:,} items")
    return ", ".join(parts)


def _place(world: str) -> tuple[int, str]:
    """Return the place of a world in the tables: the default first, then the control worlds in their order."""
    known, base = [DEFAULT, *CONTROLS], world.partition(", ")[0]
    return known.index(base) if base in known else len(known), world


def _of(config: ExperimentConfig, folder: Path) -> dict[str, Any]:
    outcomes, control = UserOutcomes(config, folder), config.control_arm
    pairs = {(claim.arm, claim.control) for claim in CLAIMS} | {(arm, control) for arm in config.arms if arm != control}
    known = sorted(pair for pair in pairs if set(pair) <= config.arms.keys())
    shares: dict[str, dict[str, float]] = {}
    for arm, measure, value in impression_metrics(config, folder).iter_rows():
        shares.setdefault(measure, {})[arm] = value
    return {
        "seeds": list(config.seeds),
        "users": config.world.users,
        "items": config.world.items,
        "days": config.loop.days,
        "control": control,
        "arms": list(config.arms),
        "lifts": {f"{arm} / {other}": dict(_lifts(outcomes, arm, other)) for arm, other in known},
        "spread": shares,
    }


def whole(config: ExperimentConfig, folder: Path) -> ExperimentConfig:
    """Return an experiment without its unfinished seeds and arms."""

    def ends(seed: int, arm: str) -> bool:
        return (folder / f"seed-{seed}" / "arms" / arm / "outcomes.parquet").exists()

    seeds = tuple(seed for seed in config.seeds if ends(seed, config.control_arm))
    arms = {arm: own for arm, own in config.arms.items() if all(ends(seed, arm) for seed in seeds)}
    return config.model_copy(update={"seeds": seeds, "arms": arms})


def _lifts(outcomes: UserOutcomes, arm: str, control: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for metric in METRICS:
        for cohort in (ALL_USERS, CORE, NON_CORE):
            yield f"{metric}, {cohort}", _row(outcomes.lift(metric, arm, control, cohort))


def _row(one: ArmLift) -> dict[str, Any]:
    return {"control": one.control, "treatment": one.treatment, "lift": one.lift, "low": one.low, "high": one.high}


def main() -> None:
    """Measure, and write the record."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.simulate.orderings", description=__doc__)
    parser.add_argument("folders", type=Path, nargs="+", metavar="FOLDER", help="what `multitudes simulate` wrote")
    parser.add_argument("--out", type=Path, default=RESULTS, help="record to write; default: %(default)s")
    given = parser.parse_args()
    try:
        write_json(given.out, make_record([folder.resolve() for folder in given.folders], read_records(given.out)))
    except MultitudesError as error:
        parser.exit(error.exit_code, f"{parser.prog}: {error}\n")


if __name__ == "__main__":
    main()
