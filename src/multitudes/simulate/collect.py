"""What a whole experiment says, from what is written of it."""

from pathlib import Path

from multitudes.locks import locked
from multitudes.progress import Progress, silent
from multitudes.report.simulated_record import Simulated
from multitudes.simulate.config import ExperimentConfig
from multitudes.simulate.lifts import by_day, lifts
from multitudes.simulate.spread import spread
from multitudes.simulate.tables import write_outcomes


def collect(config: ExperimentConfig, out: Path, progress: Progress = silent) -> Simulated:
    """Write the tables of an experiment whose days are lived, and return what they say.

    Processes that ended together take turns: each writes the same tables, and reads them.
    """
    with locked(out / ".collect.lock"):
        return _collected(config, out, progress)


def _collected(config: ExperimentConfig, out: Path, progress: Progress) -> Simulated:
    write_outcomes(config, out, progress)
    return Simulated(
        name=config.name,
        control=config.compared_with,
        arms=tuple(config.arms),
        seeds=config.seeds,
        users=config.world.users,
        items=config.world.items,
        days=config.loop.days,
        moved=tuple(lifts(config, out)),
        by_day=by_day(config, out),
        spread=spread(config, out),
    )
