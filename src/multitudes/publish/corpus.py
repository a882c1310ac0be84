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
from multitudes.index.protocol import Index, Topics
from multitudes.publish.carry import Carried
from multitudes.release.arrivals import described, grown, ragged_with, topic_numbers
from multitudes.release.manifest import NewItems
from multitudes.release.towers import Session
from multitudes.retrieve.item_tower import ItemVectors, item_vectors
from multitudes.train.runs import Run


class Corpus(NamedTuple):
    """All items, by number."""

    names: pl.DataFrame  # item_id, title
    arrays: dict[str, NDArray[Any]]  # the item arrays of a release
    vector_JD: NDArray[np.float32]
    indexed: NDArray[np.int64]  # numbers of the items that can be retrieved, ascending


def corpus(run: Run, carried: Carried, new_items: NewItems | None, tower: Session | None) -> Corpus:
    """Return the items of a release of ``run``; carried ones of which it can make no vector are left out.

    Args:
        run: the run.
        carried: items that its data does not have, and those that stay away.
        new_items: how the carried ones get their vectors; None: there are none.
        tower: the item tower where one does.
    """
    prepared = run.prepared
    input_JD, vector_JD, names = run.item_inputs(), run.item_vectors(), prepared.items
    offset, topic, usable_J = prepared.item_topic_offset, prepared.item_topic, usable_items(prepared)
    number_m: NDArray[np.int64] = np.zeros(0, dtype=np.int64)
    if new_items is not None and carried.items.height:
        items, topics, vectors = _came(prepared, carried.items, new_items, tower)
        number_m = np.arange(prepared.n_items + 1, prepared.n_items + 1 + items.height)
        input_JD = np.concatenate([input_JD, vectors.input_ND])
        vector_JD = np.concatenate([vector_JD, vectors.vector_ND])
        offset, topic = ragged_with(offset, topic, number_m, topics)
        usable_J = grown(usable_J, number_m)
        usable_J[number_m] = described(items, topics, new_items.content_width)
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


def _came(
    prepared: Prepared, items: pl.DataFrame, how: NewItems, tower: Session | None
) -> tuple[pl.DataFrame, Topics, ItemVectors]:
    """Return those of the items that came of which there are vectors, with their topics."""
    number = {name: t for t, name in enumerate(prepared.topics) if t}
    topics, _ = topic_numbers(items["topics"].to_list(), number)
    vectors, unmade = item_vectors(items, topics, how, tower)
    row_m = np.setdiff1d(np.arange(items.height), list(unmade)).astype(np.int64)
    items = items[row_m]
    topics, _ = topic_numbers(items["topics"].to_list(), number)
    return items, topics, ItemVectors(*(array[row_m] for array in vectors))


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
