"""Evaluation with its defaults: users per second on all cores, and the share of time of each phase with one thread."""

from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

from benchmarks import SEED
from benchmarks.profiling import TimedFunction, profile
from benchmarks.timing import rates, round_figure, settings, time_calls, wall_and_cpu
from benchmarks.worlds import prepare_planted, train_with_defaults
from multitudes.batches.held_out import held_out_users
from multitudes.data.planted import PlantedConfig
from multitudes.evaluation import evaluate as evaluation
from multitudes.evaluation import health, protocol
from multitudes.evaluation.baselines import Baselines
from multitudes.nn.methods import Method
from multitudes.progress import Progress

PARTS = (
    TimedFunction("user vectors", protocol, "user_vectors"),
    TimedFunction("retrieval of all systems", protocol, "search_system"),
    TimedFunction("retrieval of all systems", protocol, "search_vectors"),
    TimedFunction("max-score ranks", protocol, "max_scores"),
    TimedFunction("max-score ranks", protocol, "max_score_ranks"),
    TimedFunction("baselines", Baselines, "lists"),
    TimedFunction("fit of baselines", evaluation, "fit_baselines"),
    TimedFunction("measures of lists", protocol, "list_measures"),
    TimedFunction("interest health", protocol.Evaluator, "_interests"),
    TimedFunction("bootstrap", evaluation, "methods_and_differences"),
    TimedFunction("bootstrap", evaluation, "hit_rates_by_segment"),
    TimedFunction("bootstrap", health, "interest_summary"),
    TimedFunction("sample users", evaluation, "sample_users"),
    TimedFunction("table of outcomes", evaluation, "_table"),
)


class Sizes(NamedTuple):
    """The size of the world, and the number of repeats."""

    users: int
    items: int
    events: int
    repeats: int
    methods: tuple[Method, ...] = ("single", "joint")


FULL = Sizes(users=1_000, items=10_000, events=60_000, repeats=3)
QUICK = Sizes(users=40, items=300, events=1_000, repeats=1, methods=("joint",))


def measure(sizes: Sizes, folder: Path, progress: Progress) -> dict[str, Any]:
    """Return figures of each method; an evaluation covers the run, its controls and the baselines."""
    prepared = prepare_planted(
        folder, PlantedConfig(users=sizes.users, items=sizes.items, events=sizes.events, seed=SEED)
    )
    users = len(held_out_users(prepared, "test"))
    measured: list[dict[str, Any]] = []
    for method in sizes.methods:
        progress(len(measured), len(sizes.methods), method)
        run = train_with_defaults(prepared, method, epochs=1, seed=SEED)
        readings = time_calls(lambda run=run: evaluation.evaluate(run), sizes.repeats)  # type: ignore[misc]
        with profile(PARTS) as stopwatch, patch.object(protocol, "chosen_threads", lambda: 1):
            alone_s = time_calls(lambda run=run: evaluation.evaluate(run), 1).wall[0]  # type: ignore[misc]
        measured.append(
            {
                "method": method,
                "users": users,
                "users_per_s": rates(readings, users),
                "seconds": wall_and_cpu(readings),
                "one_thread_s": round_figure(alone_s),
                "parts": stopwatch.shares(alone_s),
            }
        )
    return {"settings": settings(sizes) | {"mean_events": round_figure(sizes.events / sizes.users)}, "runs": measured}
