"""An experiment from its file to its days: for every seed a world, a bootstrap, and each arm's life.

Several processes may run one experiment: each takes an arm that no other one has, and in the end waits for the others.
"""

import json
from pathlib import Path

from multitudes.atomic import write_json
from multitudes.errors import UsageError
from multitudes.locks import lock
from multitudes.progress import Progress, silent
from multitudes.simulation.arm_simulation import Arm, ArmSimulation, SimulationProgress
from multitudes.simulation.config import ExperimentConfig
from multitudes.simulation.policy import bootstrap_policy
from multitudes.simulation.world import World

_CHANGEABLE = ("name", "seeds", "arms", "control")


def simulate(config: ExperimentConfig, out: Path, progress: Progress = silent) -> None:
    """Live every day of an experiment that is not lived yet.

    Args:
        config: the experiment.
        out: its folder; made, or gone on with.
        progress: told after each day.

    Raises:
        UsageError: ``out`` was begun with other settings, or nobody comes to the feed of its world.
    """
    out.mkdir(parents=True, exist_ok=True)
    with lock(out / ".lock"):
        _check_settings(config, out)
    loop, of_others = config.loop, []
    whole = SimulationProgress(progress, len(config.seeds) * (loop.bootstrap_days + len(config.arms) * loop.days))
    for seed in config.seeds:
        world, folder = config.build_world(seed), seed_folder(out, seed)
        _run_bootstrap(config, world, folder, whole)
        for name in config.arms:
            arm = Arm(name, config, world, folder)
            if not arm.run(whole):
                of_others.append(arm)
    for arm in of_others:
        arm.run(whole, wait=True)


def seed_folder(out: Path, seed: int) -> Path:
    """Return the folder of everything of one seed."""
    return out / f"seed-{seed}"


def _run_bootstrap(config: ExperimentConfig, world: World, folder: Path, progress: SimulationProgress) -> None:
    loop, policy = config.loop, bootstrap_policy(world, config.loop.candidates)
    folder.mkdir(exist_ok=True)
    with lock(folder / ".lock"):
        life, came = ArmSimulation(world, loop, folder / "bootstrap"), 0
        for day in range(loop.bootstrap_days):
            came += life.simulate_day(day, lambda: policy)
            progress.finish_day(f"seed {world.config.seed}, bootstrap, day {day}")

    if not came:
        raise UsageError(
            f"seed {world.config.seed}: nobody came to the feed in the {loop.bootstrap_days} days of the bootstrap;"
            " raise [world] users or cohort_visits, or [loop] bootstrap_days"
        )


def _check_settings(config: ExperimentConfig, out: Path) -> None:
    """Refuse to go on with what was begun under other settings; arms and seeds may be added."""
    file, now = out / "experiment.json", config.model_dump(mode="json")
    if file.exists():
        then = json.loads(file.read_text(encoding="utf-8"))
        changed = [key for key in now if key not in _CHANGEABLE and now[key] != then.get(key)]
        arms = now["arms"].keys() & then["arms"].keys()
        changed += [f"arms.{arm}" for arm in sorted(arms) if now["arms"][arm] != then["arms"][arm]]
        if changed:
            raise UsageError(
                f"{out}: was begun with other settings of {', '.join(changed)}; choose another --out, or set them back"
            )
        now["arms"] = then["arms"] | now["arms"]
    write_json(file, now)
