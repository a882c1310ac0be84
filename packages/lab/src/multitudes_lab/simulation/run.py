"""A simulated experiment from its configuration to its logs: for each seed a world, a bootstrap, and the arms.

Several processes may run one experiment: each takes arms that no other process runs, and finally waits for the others.
"""

import json
from pathlib import Path

from multitudes.atomic import write_json
from multitudes.errors import UsageError
from multitudes.locks import lock
from multitudes.progress import Progress, silent
from multitudes_lab.simulation.arm_simulation import Arm, ArmSimulation, SimulationProgress
from multitudes_lab.simulation.config import ExperimentConfig
from multitudes_lab.simulation.policy import InvertedIndexPolicy
from multitudes_lab.simulation.world import World

_CHANGEABLE = ("name", "seeds", "arms", "control")  # settings that may change between runs


def simulate(config: ExperimentConfig, out: Path, progress: Progress = silent) -> None:
    """Simulate every day of an experiment that is not simulated yet; ``out`` is new, or of a run that continues.

    Raises:
        UsageError: ``out`` has an experiment with other settings, or the world has no visitors.
    """
    out.mkdir(parents=True, exist_ok=True)
    with lock(out / ".lock"):
        _check_settings(config, out)
    loop, of_others = config.loop, []
    n_days = len(config.seeds) * (loop.bootstrap_days + len(config.arms) * loop.days)
    days = SimulationProgress(progress, n_days)
    for seed in config.seeds:
        world, folder = config.build_world(seed), seed_folder(out, seed)
        _run_bootstrap(config, world, folder, days)
        for name in config.arms:
            arm = Arm(name, config, world, folder)
            if not arm.run(days):
                of_others.append(arm)
    for arm in of_others:
        arm.run(days, wait=True)


def seed_folder(out: Path, seed: int) -> Path:
    """Return the folder of a seed."""
    return out / f"seed-{seed}"


def _run_bootstrap(config: ExperimentConfig, world: World, folder: Path, progress: SimulationProgress) -> None:
    loop, policy = config.loop, InvertedIndexPolicy(world, config.loop.candidates, "bootstrap")
    folder.mkdir(exist_ok=True)
    with lock(folder / ".lock"):
        simulation, n_visitors = ArmSimulation(world, loop, folder / "bootstrap"), 0
        for day in range(loop.bootstrap_days):
            n_visitors += simulation.simulate_day(day, lambda: policy)
            progress.finish_day(f"seed {world.config.seed}, bootstrap, day {day}")

    if not n_visitors:
        raise UsageError(
            f"seed {world.config.seed}: no user visited the feed in the {loop.bootstrap_days} days of the bootstrap;"
            " raise [world] users or [loop] bootstrap_days"
        )


def _check_settings(config: ExperimentConfig, out: Path) -> None:
    """Reject a folder that was begun with other settings; arms and seeds may be added."""
    file, settings = out / "experiment.json", config.model_dump(mode="json")
    if file.exists():
        earlier = json.loads(file.read_text(encoding="utf-8"))
        changed = [key for key in settings if key not in _CHANGEABLE and settings[key] != earlier.get(key)]
        arms = settings["arms"].keys() & earlier["arms"].keys()
        changed += [f"arms.{arm}" for arm in sorted(arms) if settings["arms"][arm] != earlier["arms"][arm]]
        if changed:
            raise UsageError(
                f"{out}: was begun with other settings of {', '.join(changed)}; choose another --out, or restore them"
            )
        settings["arms"] = earlier["arms"] | settings["arms"]
    write_json(file, settings)
