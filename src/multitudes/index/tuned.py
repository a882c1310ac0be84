"""The segment that every tuned engine makes: rows, and the engine's own file beside them.

Legend: Q queries · n items · D dimensions.
"""

from collections.abc import Callable, Sequence
from copy import copy
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from multitudes.errors import ArtefactError
from multitudes.index import files
from multitudes.index.approximate import Approximate
from multitudes.index.protocol import Hits, Topics
from multitudes.index.request import checked, unfiltered
from multitudes.index.rows import Rows
from multitudes.index.sweep import sweep
from multitudes.index.tuning import Choice, Engine, Level, Promise, TopicLevel, Tuning, Walk, from_record, sample, tune
from multitudes.progress import Progress, silent

_TOPIC_QUERIES, _TOPIC_DEPTH = 64, 50  # on which a large topic is checked


class Stored(Engine, Protocol):
    """An engine that lies in a file of its own."""

    kind: str
    file: str

    def about(self) -> dict[str, Any]:
        """Return what ``info()`` says of this engine beyond what it says of all."""
        ...

    def write(self, path: Path) -> None:
        """Write the engine's file."""
        ...


class Tuned:
    """A segment behind an engine; see ``Index`` for the promise that it keeps, ``info()`` for its measured recall."""

    def __init__(self, rows: Rows, engine: Stored, tuning: Tuning) -> None:
        self._rows, self._engine = rows, engine
        self._approximate = Approximate(rows, engine, tuning)

    def search(
        self,
        query_QD: NDArray[np.float32],
        limit: int | NDArray[np.int64],
        *,
        excluded: Sequence[NDArray[np.int64]] | None = None,
        topic_Q: NDArray[np.int64] | None = None,
        log_sums: bool = False,
    ) -> Hits:
        """Find the best items of each query; see ``Index.search``. Sums over all items are not known here."""
        return self._approximate.search(
            checked(query_QD, limit, excluded, topic_Q, log_sums, dimension=self._rows.dimension, items=len(self))
        )

    def without(self, ids: NDArray[np.int64]) -> "Tuned":
        """Return the segment for searches that find none of some items; see ``Segment.without``."""
        other = copy(self)
        other._approximate = self._approximate.without(ids)
        return other

    def vectors(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the vectors of ``ids``."""
        return self._rows.vectors(ids)

    def ids(self) -> NDArray[np.int64]:
        """Return every id, ascending."""
        return self._rows.ids

    def items_of(self, topic: int) -> NDArray[np.int64]:
        """Return the ids of a topic, ascending."""
        return self._rows.items_of(topic)

    def topics(self) -> Topics:
        """Return the topics of every item, in the order of ``ids()``."""
        return self._rows.postings.topics(len(self._rows))

    def __len__(self) -> int:
        """Return the number of items."""
        return len(self._rows)

    def info(self) -> dict[str, Any]:
        """Describe the index and how it was tuned."""
        about = {"kind": self._engine.kind, "items": len(self), "dimension": self._rows.dimension}
        return {**about, **self._engine.about(), "tuning": self._approximate.tuning.record()}

    def save(self, folder: Path) -> None:
        """Write ids, vectors, topics, the engine's file and ``index.json`` into ``folder``."""
        files.save_rows(folder, self._rows)
        self._engine.write(folder / self._engine.file)
        files.write_description(folder, self.info())


def build(
    rows: Rows,
    engine: Stored,
    queries: NDArray[np.float32] | None,
    promise: Promise,
    *,
    seed: int = 0,
    progress: Progress = silent,
) -> Tuned:
    """Return the rows with an engine that was tuned on user vectors to keep a promise; see ``tuning.tune``."""
    some = sample(queries, rows, seed)
    untuned = Approximate(rows, engine, Tuning((), promise, some.name, 0, 0))

    def ranked(query_QD: NDArray[np.float32], level: Level) -> Hits:
        return untuned.rank(unfiltered(query_QD, level.depth), Walk.of([level] * len(query_QD))).hits

    levels = tune(Choice(engine.efforts(), engine.proposals), ranked, rows, some, promise, progress)
    index = Approximate(rows, engine, levels)
    checked = [_checked(index, topic, some.checked_QD) for topic in rows.postings.longer_than(promise.scanned)]
    return Tuned(rows, engine, levels._replace(topics=tuple(checked)))


def _checked(index: Approximate, topic: int, query_QD: NDArray[np.float32]) -> TopicLevel:
    """Measure the recall of a topic too large to be scanned each time; it is scanned after all if that falls short."""
    request = unfiltered(query_QD[:_TOPIC_QUERIES], min(_TOPIC_DEPTH, index.tuning.promise.deepest))
    request = request._replace(topic_Q=np.full(len(request.limit_Q), topic))
    rows, found = index.rows, index.search(request)
    truth = sweep(request.query_QD, rows.items_of(topic), rows.vectors_of(topic), request.width)
    shares = [np.isin(truth.ids(q), found.ids(q)).mean() for q in range(len(truth.count_Q))]
    recall = round(float(np.mean(shares)), 4)
    return TopicLevel(topic, len(rows.postings.rows(topic)), recall, recall < index.tuning.promise.recall)


def opened(folder: Path, record: dict[str, Any], file: str, read: Callable[[str], Stored]) -> Tuned:
    """Open the index that ``record`` describes in a verified folder; ``read`` opens the engine's file.

    Raises:
        ArtefactError: the file is of another version of the engine.
    """
    try:
        engine = read(str(folder / file))
    except RuntimeError as error:
        raise ArtefactError(f"{folder / file}: this FAISS cannot read it: {error}") from None
    return Tuned(files.load_rows(folder), engine, from_record(record["tuning"]))
