"""Evaluation by its defaults: users per second, and the share of each phase."""

from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import SEED
from benchmarks.parts import Watched, watching
from benchmarks.timing import both, clocked, figure, rates, settings
from benchmarks.worlds import planted, trained
from multitudes.batches.held_out import held_out_users
from multitudes.data.planted import PlantedConfig
from multitudes.evaluation import evaluate as evaluation
from multitudes.evaluation import health, protocol
from multitudes.evaluation.baselines import Baselines
from multitudes.nn.methods import Method
from multitudes.progress import Progress

PARTS = (
    Watched("user vectors", protocol, "user_vectors"),
    Watched("retrieval of all systems", protocol, "find"),
    Watched("max-score ranks", protocol, "max_score_ranks"),
    Watched("baselines", Baselines, "lists"),
    Watched("measures of lists", protocol, "list_measures"),
    Watched("interest health", protocol.Evaluator, "_interests"),
    Watched("bootstrap", evaluation, "methods_and_differences"),
    Watched("bootstrap", evaluation, "by_segment"),
    Watched("bootstrap", health, "summary"),
    Watched("sample users", evaluation, "sample_users"),
    Watched("table of outcomes", evaluation, "_table"),
)


class Sizes(NamedTuple):
    """The world and how often it is evaluated."""

    users: int
    items: int
    events: int
    repeats: int
    methods: tuple[Method, ...] = ("single", "joint")


FULL = Sizes(users=1_000, items=10_000, events=60_000, repeats=3)
QUICK = Sizes(users=40, items=300, events=1_000, repeats=1, methods=("joint",))


def measure(sizes: Sizes, folder: Path, progress: Progress) -> dict[str, Any]:
    """Return figures of each method; an evaluation asks the run, its controls and the baselines."""
    prepared = planted(folder, PlantedConfig(users=sizes.users, items=sizes.items, events=sizes.events, seed=SEED))
    users = len(held_out_users(prepared, "test"))
    measured: list[dict[str, Any]] = []
    for method in sizes.methods:
        progress(len(measured), len(sizes.methods), method)
        run = trained(prepared, method, epochs=1, seed=SEED)
        with watching(PARTS) as stopwatch:
            readings = clocked(lambda run=run: evaluation.evaluate(run), sizes.repeats)  # type: ignore[misc]
        measured.append(
            {
                "method": method,
                "users": users,
                "users_per_s": rates(readings, users),
                "seconds": both(readings),
                "parts": stopwatch.shares(sum(readings.wall)),
            }
        )
    return {"settings": settings(sizes) | {"mean_events": figure(sizes.events / sizes.users)}, "runs": measured}
