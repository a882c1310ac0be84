"""A study of two methods on a planted data set, so small that a cell takes a second or two."""

import threading
from pathlib import Path

from multitudes.data.planted import PlantedConfig, plant, write_world
from multitudes.errors import MultitudesError
from multitudes.locks import lock
from multitudes.study.worker import compute_cell

STUDY = """
name = "small"
seeds = [0]

[data.planted]
tables = "tables"
max_users = 40
prepare.split = "user"

[methods.joint]
[methods.plain]
method = "single"
train.epochs = 2

[model]
width = 16
history = 10
crossing.hidden = 16

[train]
epochs = 3
batch_size = 32
in_batch = 32
uniform = 32
validate_users = 40

[evaluate]
budgets = [5, 20, 200]

[tuning]
trials = 2
space.train.learning_rate = {low = 0.0005, high = 0.02, log = true}
"""


def study_file(folder: Path, text: str = STUDY, users: int = 60) -> Path:
    """Write tables and a study of them; return the study's file."""
    folder.mkdir(parents=True, exist_ok=True)
    write_world(plant(PlantedConfig(users=users, items=240, events=2_400, niches=12, topics=6)), folder / "tables")
    file = folder / "study.toml"
    file.write_text(text)
    return file


_one_cell = threading.Lock()  # torch has one state of its random numbers in a process


def compute_here(pool, cell, split) -> str | None:
    """Stand in for ``WorkerPool.run``: compute the cell in this process, which has torch loaded already.

    A worker takes seconds to begin. What is of the workers themselves is tested with real ones: test_worker_pool, and
    the tests of test_run that kill, fail, and run from the command line.
    """
    folder = cell.folder(pool._cells)
    folder.mkdir(parents=True, exist_ok=True)
    with _one_cell, lock(folder / ".lock"):  # of a killed study, a worker may need a moment to exit
        try:
            compute_cell(cell.job(split, pool._cells), folder)
        except MultitudesError as error:
            return str(error)
    return None
