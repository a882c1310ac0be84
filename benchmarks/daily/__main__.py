"""``python -m benchmarks.daily DATA --work DIR``: daily training, each day evaluated on the next day.

The last part of a data set is cut into days of equal length. Each day one run continues with the new events
(``continued``), one continues with its weights only and a fresh optimiser (``weights``), one is trained on all events
(``anew``), and one is left as it was on the first day (``left``, the control: if it were as good, continuing would be
pointless). All are evaluated on the next day, on the same data.

In place of DATA, ``moving`` is a planted world where each day some items move to another niche, and ``still``, its
control, one where no item moves.
"""

import argparse
from pathlib import Path

from benchmarks import SEED
from benchmarks.daily.arms import measure
from benchmarks.daily.days import prepare_days, write_planted_world
from benchmarks.machine import ROOT, MeasurementContext
from benchmarks.records import save_record
from multitudes.nn.user_tower_config import UserTowerConfig
from multitudes.training.config import TrainConfig

WORLDS = ("moving", "still")


def main() -> None:
    """Measure, and put the outcome beside those of other data."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.daily", description="Train day after day.")
    parser.add_argument("data", help=f"folder of canonical tables, or a planted world: {', '.join(WORLDS)}")
    parser.add_argument("--work", type=Path, required=True, help="folder for data and runs; what is done is kept")
    parser.add_argument("--days", type=int, default=5)
    parser.add_argument("--length-days", type=float, default=7)
    parser.add_argument("--users", type=int, default=0, help="so many, drawn at random; 0: all")
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=8, help="most of a training anew; validation says how many")
    parser.add_argument("--again", type=int, default=1, help="epochs of a day that is gone on with")
    parser.add_argument("--budget", type=int, default=100, help="N of the hit rate")
    parser.add_argument("--learning-rate", type=float, default=TrainConfig().learning_rate)
    parser.add_argument("--name", help="of the record; the data's")
    given = parser.parse_args()
    circumstances, length_s = MeasurementContext(), int(given.length_days * 86_400)
    source = Path(given.data)
    if given.data in WORLDS:
        source = write_planted_world(given.work / given.data, given.days, length_s, moves=given.data == "moving")
    data = prepare_days(source, given.work, given.days, length_s, given.users)
    runs = given.work / f"runs-{given.again}-{given.epochs}-{given.learning_rate:g}"
    model = UserTowerConfig(width=given.width)
    settings = TrainConfig(epochs=given.epochs, learning_rate=given.learning_rate)
    found = measure(data, runs, model, settings, given.seeds, given.again, given.budget)
    about = {"users": given.users or data[-1].n_users, "length_days": given.length_days, "width": given.width}
    about |= {"budget": given.budget, "most_epochs": given.epochs, "learning_rate": given.learning_rate}
    out = ROOT / "benchmarks" / "results" / "daily.json"
    save_record(out, "daily", given.name or source.name, circumstances.head() | {"seed": SEED} | about | found)
    print(f"{out}: {found['all']}, {found['differences']}, {found['cost_of_continued']}")


if __name__ == "__main__":
    main()
