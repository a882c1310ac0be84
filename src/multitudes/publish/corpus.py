"""The items of a new release: those of the run's data, and behind them those carried over from the release before.

Legend: I items of the data · J items of the release · D width.
"""

from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from multitudes.data.prepared import Prepared
from multitudes.index.build import IndexConfig
from multitudes.index.place import build
from multitudes.index.postings import topics_of
from multitudes.index.protocol import Index
from multitudes.publish.carry import Carried
from multitudes.release.arrivals import grown, ragged_with, topic_numbers
from multitudes.release.manifest import NewItems
from multitudes.release.towers import Session
from multitudes.retrieve.item_tower import contents, item_vectors
from multitudes.train.runs import Run


class Corpus(NamedTuple):
    """All items, by number."""

    names: pl.DataFrame  # item_id, title
    arrays: dict[str, NDArray[Any]]  # the item arrays of a release
    vector_JD: NDArray[np.float32]
    indexed: NDArray[np.int64]  # numbers of the items that can be retrieved, ascending


def corpus(run: Run, carried: Carried, new_items: NewItems | None, tower: Session | None) -> Corpus:
    """Return the items of a release of ``run``.

    Args:
        run: the run.
        carried: items that its data does not have, and those that stay away.
        new_items: how the carried ones get their vectors; None: there are none.
        tower: the item tower where one does.

    Raises:
        DataError: carried items bring their own vectors, and one does not fit.
    """
    prepared = run.prepared
    input_JD, vector_JD, names = run.item_inputs(), run.item_vectors(), prepared.items
    offset, topic, usable_J = prepared.item_topic_offset, prepared.item_topic, usable_items(prepared)
    items = carried.items
    number_m = np.arange(prepared.n_items + 1, prepared.n_items + 1 + items.height)
    if new_items is not None and len(number_m):
        topics, _ = topic_numbers(items["topics"].to_list(), {name: t for t, name in enumerate(prepared.topics) if t})
        vectors = item_vectors(items, topics, new_items, tower)
        input_JD, vector_JD = (
            np.concatenate([input_JD, vectors.input_ND]),
            np.concatenate([vector_JD, vectors.vector_ND]),
        )
        offset, topic = ragged_with(offset, topic, number_m, topics)
        usable_J = grown(usable_J, number_m)
        usable_J[number_m] = (np.diff(topics.offset) > 0) | contents(items, new_items.content_width).any(axis=1)
        names = pl.concat([names, items.select("item_id", "title")])
    arrays: dict[str, NDArray[Any]] = {
        "item_input": input_JD,
        "item_topic_offset": offset,
        "item_topic": topic,
        "item_count": grown(prepared.item_count, number_m),
        "item_usable": usable_J,
    }
    away = np.flatnonzero(names["item_id"].is_in(list(carried.removed_s)).to_numpy()) + 1
    return Corpus(names, arrays, vector_JD, np.setdiff1d(np.flatnonzero(vector_JD.any(axis=1)), away))


def index_of(corpus: Corpus, queries: NDArray[np.float32], config: IndexConfig) -> Index:
    """Build the index over all items that can be retrieved, tuned on vectors of real users."""
    topics = topics_of(corpus.arrays["item_topic_offset"], corpus.arrays["item_topic"], corpus.indexed)
    return build(
        corpus.indexed,
        corpus.vector_JD[corpus.indexed],
        config,
        topics=topics if len(topics.topic) else None,
        queries=queries,
    )


def usable_items(prepared: Prepared) -> NDArray[np.bool_]:
    """Return which items have a feature, topics or content (I + 1); all of them where no item has any."""
    usable = np.diff(prepared.item_topic_offset) > 0
    if prepared.item_embedding is not None:
        usable |= prepared.item_embedding.any(axis=1)
    usable = usable if usable.any() else np.ones_like(usable)
    usable[0] = False
    return usable
