"""Tuning for one method on one prepared data set, and the settings file that it ends in."""

import json
from pathlib import Path
from typing import Any, NamedTuple

from multitudes.atomic import write_text
from multitudes.config import deep_merge
from multitudes.data.prepared import PreparedData
from multitudes.errors import MultitudesError, UsageError
from multitudes.evaluation.config import EvaluateConfig
from multitudes.evaluation.pair import METHOD as PAIR
from multitudes.pinnersage.run import item_embeddings
from multitudes.study.cells import prepared_digest
from multitudes.study.config import Settings, TuningConfig, unflatten
from multitudes.study.grid import Dataset, GridEntry, check_search
from multitudes.study.scheduler import ProgressListener, Scheduler
from multitudes.study.search_space import default_space
from multitudes.study.tuning import SearchResult


class TuningResult(NamedTuple):
    """What a search ended with."""

    search: SearchResult
    settings: Settings  # what was given, with what was found laid over it: model, train, retrieve
    metric: str

    @property
    def scores(self) -> tuple[float | None, float | None]:
        """The score of the settings as given, and of those that were chosen."""
        scored = [trial.score for trial in self.search.trials if trial.score is not None]
        return self.search.trials[0].score, max(scored, default=None)


def tune_method(
    prepared: Path,
    settings: Settings,
    evaluate: EvaluateConfig,
    tuning: TuningConfig,
    cells: Path,
    listener: ProgressListener = lambda _: None,
) -> TuningResult:
    """Search for the settings of a method, beginning with those given; judged on the validation split.

    Args:
        prepared: the data.
        settings: method, model, train, retrieve.
        evaluate: how a trial is judged; its split does not count.
        tuning: how many trials, and what is maximised.
        cells: where the trials are kept, so that a search that was killed goes on.
        listener: told of every trial.

    Raises:
        UsageError: the settings are none, or lie outside what is searched.
        DataError: the method reads embeddings, and the items have none.
        MultitudesError: every trial failed.
    """
    if settings["method"] == PAIR:
        raise UsageError("method = 'pair': a pair is made of two methods of a study; tune each of them")
    data = PreparedData.open(prepared)
    entry = GridEntry(data.path.name, settings["method"], settings, evaluate, default_space(settings["method"]))
    check_search(entry, settings["method"])
    if entry.reads_embeddings:
        item_embeddings(data)
    source = Dataset(data.path.resolve(), prepared_digest(data.path), data.n_items)
    work = Scheduler(cells, 1, listener)
    with work.pool([(entry.data, entry.method, True)] * tuning.trials) as pool:
        tuned: SearchResult = pool.submit(work.search, entry, source, tuning).result()
    if not tuned.best:
        raise MultitudesError(f"every trial failed; {cells}/*/messages.txt say why")
    return TuningResult(tuned, deep_merge(settings, unflatten(tuned.best)), tuning.metric)


def write_settings(result: TuningResult, file: Path, title: str) -> None:
    """Write the settings as a file that ``multitudes train --config`` takes, whole or not at all."""
    before, after = result.scores
    lines = [
        f"# {title}",
        f"# {result.metric} on validation: {_format_score(before)} as given, {_format_score(after)} here",
        "",
    ]
    for section in ("model", "train", "retrieve"):
        if result.settings[section]:
            lines += [f"[{section}]", *_toml_lines(result.settings[section]), ""]
    write_text(file, "\n".join(lines))


def _toml_lines(table: Settings, prefix: str = "") -> list[str]:
    lines = []
    for key, value in table.items():
        if isinstance(value, dict):
            lines += _toml_lines(value, f"{prefix}{key}.")
        elif value is not None:  # TOML has no null; what is left out takes its default
            lines.append(f"{prefix}{key} = {json.dumps(value)}")
    return lines


def _format_score(score: Any) -> str:  # noqa: ANN401
    return "failed" if score is None else f"{score:.4f}"
