"""Max-score, as the paper counts, beside an equal budget, for the runs of a study.

::

    multitudes study examples/paper-small.toml --set seeds=[0] --out STUDY
    python -m benchmarks.max_score STUDY one_vector

Max-score ranks every item by the best of a user's vectors. So a method with K vectors looks at K lists, and one with a
single vector at one; a system that serves N candidates cannot do that. At an equal budget all vectors of a user share
the N = 100 places, by the code that serves them.

Printed for each set of the study, seed 0: HR@100 at an equal budget and by max-score on the validation split, and the
difference of each method to the one that is named, with its interval (95 %, bootstrap over users).
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from benchmarks.markdown import table
from multitudes.batches.held_out import held_out_users
from multitudes.evaluation.outcomes import Bootstrap, ListKey, Ratio
from multitudes.evaluation.protocol import Evaluator
from multitudes.evaluation.targets import subsample
from multitudes.metrics.bootstrap import Estimates
from multitudes.retrieval.config import RetrieveConfig, with_run_defaults
from multitudes.retrieval.scorer import catalogue
from multitudes.study.comparison import read_cells
from multitudes.training.trained_run import TrainedRun

BUDGET, SEED = 100, 0


class Outcome(NamedTuple):
    """The hits of each user, of their targets."""

    equal_budget: Ratio
    max_score: Ratio


def read_runs(study: Path) -> Iterator[tuple[str, str, dict[str, object], Path]]:
    """Yield data set, method, job and training folder of each cell of the seed, by set and method."""
    for cell in read_cells(study)["cells"]:
        if cell["seed"] == SEED and cell["status"] == "done":
            job = json.loads((study / "cells" / cell["digest"] / "job.json").read_text(encoding="utf-8"))
            yield cell["data"], cell["method"], job, study / "cells" / cell["training"] / "run"


def measure(job: dict[str, object], folder: Path) -> Outcome:
    """Evaluate a run."""
    run = TrainedRun.open(folder, str(job["prepared"]))
    retrieve = with_run_defaults(RetrieveConfig.model_validate(job["retrieve"]), run.shares, run.blend, run.calibration)
    settings = dict(job["evaluate"])  # type: ignore[call-overload]
    held = subsample(held_out_users(run.prepared, "validation"), settings["max_users"])
    items = catalogue(run, run.item_vectors())
    found = Evaluator(run, items, retrieve, (BUDGET,), controls="none").evaluate(held, ("new",))["new"]
    targets_B = found.targets["targets"]
    hits_B = found.lists[ListKey(run.config.method, BUDGET)]["hits"]
    return Outcome(Ratio(hits_B, targets_B), Ratio(found.max_score[f"hr@{BUDGET}"], targets_B))


def main() -> None:
    """Print a table."""
    study, reference = Path(sys.argv[1]), sys.argv[2]
    by_set: dict[str, dict[str, Outcome]] = {}
    for name, method, job, folder in read_runs(study):
        by_set.setdefault(name, {})[method] = measure(job, folder)
        print(f"{name} {method}", file=sys.stderr)
    rows = list[list[str]]()
    for name, outcomes in by_set.items():
        order = sorted(outcomes, key=lambda method: method != reference)
        ways = [Bootstrap(1_000, SEED)([getattr(outcomes[method], way) for method in order]) for way in Outcome._fields]
        for number, method in enumerate(order):
            rows.append([name, method, *(cell for estimates in ways for cell in _cells(estimates, number))])
    minus = f"− {reference}"
    print("\n".join(table(["set", "method", "equal budget", minus, "max-score", minus], rows)))


def _cells(estimates: Estimates, number: int) -> tuple[str, str]:
    rate, gain = estimates.interval(number), estimates.difference(number, 0)
    return f"{rate.mean:.3f}", f"{gain.mean:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]"


if __name__ == "__main__":
    main()
