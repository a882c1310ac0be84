"""What repeats bring, for all targets: the run with repeats against a user's own history alone.

::

    python -m benchmarks.repeats [--split test] [--max-users N] RUN...

Printed for each run, at 10 and 100 candidates: the hit rates of the user's own items newest first, of the same items by
the repeat model (both filled up with popular items), of the run alone and of the run with repeats; and how far the last
one is ahead of the first two, with 95 % intervals paired by user. The repeat model is fitted on the validation split. A
line before says how many targets are among the events that the user tower reads, and how many in the whole history.
"""

import argparse

import polars as pl

from multitudes.batches.held_out import held_out_histories, held_out_users
from multitudes.data.prepared import Split
from multitudes.evaluation.config import EvaluateConfig
from multitudes.evaluation.evaluate import evaluate
from multitudes.evaluation.outcomes import Bootstrap, Ratio
from multitudes.evaluation.repeats import WITH_REPEATS
from multitudes.metrics.ranking import target_rows
from multitudes.retrieval.scorer import Scorer
from multitudes.training.runs import open_run

BUDGETS = (10, 100)


def hits(outcomes: pl.DataFrame, method: str, budget: int) -> Ratio:
    """Return the hits and targets of each user."""
    rows = outcomes.filter((pl.col("method") == method) & (pl.col("budget") == budget))
    return Ratio(rows["hits"].to_numpy(), rows["targets"].to_numpy())


def memory(run: Scorer, split: Split) -> str:
    """Return the share of the targets among the newest events of the history, and in all of it."""
    held = held_out_users(run.prepared, split)
    item_BL = held_out_histories(run.prepared, held.user_B, held.end_B, run.config.model.history).item_BL
    row_T = target_rows(held.target_offset)
    recent = float((item_BL[row_T] == held.target[:, None]).any(axis=1).mean())
    return f"{recent:.3f} in the newest {item_BL.shape[1]} events, {1 - held.target_is_first_time.mean():.3f} in all"


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--split", default="validation")
    parser.add_argument("--max-users", type=int)
    parser.add_argument("runs", nargs="+")
    options = parser.parse_args()
    print("run | N | users | own history | repeats | run | run with repeats | − own history | − repeats")
    for path in options.runs:
        run = open_run(path)
        print(f"{path}: targets that are repeats: {memory(run, options.split)}")
        settings = {"split": options.split, "targets": "all", "budgets": BUDGETS, "max_users": options.max_users}
        config = EvaluateConfig.model_validate(settings | {"controls": "none", "baselines": "cheap"})
        outcomes = evaluate(run, config).outcomes
        for n in BUDGETS:
            figures = [
                hits(outcomes, method, n) for method in ("own_history", "repeats", run.config.method, WITH_REPEATS)
            ]
            estimates = Bootstrap(1000, 0)(figures)
            texts = [f"{rate:.4f}" for rate in estimates.value_M]
            for reference in range(2):
                gain = estimates.difference(3, reference)
                texts.append(f"{gain.mean:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}]")
            print(path, n, len(figures[0].numerator_B), *texts, sep=" | ")


if __name__ == "__main__":
    main()
