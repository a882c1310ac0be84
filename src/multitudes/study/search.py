"""Tuning for one method on one prepared data set, and the settings file that it ends in."""

import json
from pathlib import Path
from typing import Any, NamedTuple

from multitudes.config import laid_over
from multitudes.data.prepared import Prepared
from multitudes.disk import write_text
from multitudes.errors import MultitudesError, UsageError
from multitudes.evaluate.config import EvaluateConfig
from multitudes.evaluate.pair import METHOD as PAIR
from multitudes.study.cells import digest_of
from multitudes.study.config import Settings, TuningConfig, nested
from multitudes.study.plan import Entry, Source, check_search
from multitudes.study.space import default_space
from multitudes.study.tuning import Tuned
from multitudes.study.work import Watch, Work
from multitudes.train.pinnersage import embeddings


class Found(NamedTuple):
    """What a search ended with."""

    tuned: Tuned
    settings: Settings  # what was given, with what was found laid over it: model, train, retrieve
    metric: str

    @property
    def scores(self) -> tuple[float | None, float | None]:
        """The score of the settings as given, and of those that were chosen."""
        scored = [trial.score for trial in self.tuned.trials if trial.score is not None]
        return self.tuned.trials[0].score, max(scored, default=None)


def search(
    prepared: Path,
    settings: Settings,
    evaluate: EvaluateConfig,
    tuning: TuningConfig,
    cells: Path,
    watch: Watch = lambda _: None,
) -> Found:
    """Search for the settings of a method, beginning with those given; judged on the validation split.

    Args:
        prepared: the data.
        settings: method, model, train, retrieve.
        evaluate: how a trial is judged; its split does not count.
        tuning: how many trials, and what is maximised.
        cells: where the trials are kept, so that a search that was killed goes on.
        watch: told of every trial.

    Raises:
        UsageError: the settings are none, or lie outside what is searched.
        DataError: the method reads embeddings, and the items have none.
        MultitudesError: every trial failed.
    """
    if settings["method"] == PAIR:
        raise UsageError("method = 'pair': a pair is made of two methods of a study; tune each of them")
    data = Prepared.open(prepared)
    entry = Entry(data.path.name, settings["method"], settings, evaluate, default_space(settings["method"]))
    check_search(entry, settings["method"])
    if entry.reads_embeddings:
        embeddings(data)
    source = Source(data.path.resolve(), digest_of(data.path), data.n_items)
    work = Work(cells, 1, watch)
    with work.pool([(entry.data, entry.method, True)] * tuning.trials) as pool:
        tuned: Tuned = pool.submit(work.search, entry, source, tuning).result()
    if not tuned.best:
        raise MultitudesError(f"every trial failed; {cells}/*/messages.txt say why")
    return Found(tuned, laid_over(settings, nested(tuned.best)), tuning.metric)


def write_settings(found: Found, file: Path, title: str) -> None:
    """Write the settings as a file that ``multitudes train --config`` takes, whole or not at all."""
    before, after = found.scores
    lines = [f"# {title}", f"# {found.metric} on validation: {_figure(before)} as given, {_figure(after)} here", ""]
    for section in ("model", "train", "retrieve"):
        if found.settings[section]:
            lines += [f"[{section}]", *_lines(found.settings[section]), ""]
    write_text(file, "\n".join(lines))


def _lines(table: Settings, prefix: str = "") -> list[str]:
    lines = []
    for key, value in table.items():
        if isinstance(value, dict):
            lines += _lines(value, f"{prefix}{key}.")
        elif value is not None:  # TOML has no null; what is left out takes its default
            lines.append(f"{prefix}{key} = {json.dumps(value)}")
    return lines


def _figure(score: Any) -> str:  # noqa: ANN401
    return "failed" if score is None else f"{score:.4f}"
