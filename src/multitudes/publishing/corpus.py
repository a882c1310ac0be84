"""What came to the release that serves, and left it, is taken into the next one.

Items that the new run's data does not have get vectors of the new tower. Items that were removed stay away, unless the
data has an event of theirs that is later than their removal.

The items of a new release: those of the run's data, and behind them those carried over from the release before.

Legend: I items of the data · J items of the release · D width.
"""

import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from multitudes.data.prepared import PreparedData
from multitudes.errors import ArtefactError, UsageError
from multitudes.ids import Id
from multitudes.index.factory import IndexConfig, build_index
from multitudes.index.item_table import select_topics
from multitudes.index.protocol import Index, Topics
from multitudes.release import delta_log
from multitudes.release.delta_log import Delta
from multitudes.release.manifest import NewItems
from multitudes.release.onnx_session import Session
from multitudes.release.overlay import extend_column, has_features, net_delta, replace_ragged_rows, topic_numbers
from multitudes.release.release import CARRIED_LOG, CARRIED_OWNER
from multitudes.release.store import ReleaseStore
from multitudes.retrieval.item_updates import ItemVectors, item_vectors
from multitudes.training.runs import Run


class CarriedItems(NamedTuple):
    """What goes from one release into the next."""

    items: pl.DataFrame  # rows as they were given, of items that the data of the new run does not have
    removed_s: dict[Id, int]  # items that stay away, and when they were removed


def carry_over(store: ReleaseStore, prepared: PreparedData) -> CarriedItems:
    """Return what goes from the release that serves into one of a run on ``prepared``.

    Raises:
        ArtefactError: the file of changes is damaged.
        UsageError: items came, and their ids are of another type than those of the data.
    """
    made = _read_deltas(store)
    net, known = net_delta(made), prepared.items["item_id"]
    if not made:
        return CarriedItems(pl.DataFrame(schema={"item_id": known.dtype}), {})
    types = {change.items["item_id"].dtype for change in made}
    if types != {known.dtype}:
        raise UsageError(
            f"{store.root}: its items have ids of another type than {prepared.path}; publish into another folder"
        )
    items = net.items()[net.rows(net.added)] if net.last_row else pl.DataFrame(schema={"item_id": known.dtype})
    back = _returned_items(prepared, net.removed_s)
    return CarriedItems(
        items.filter(~pl.col("item_id").is_in(known.implode())),
        {item_id: at_s for item_id, at_s in net.removed_s.items() if item_id not in back},
    )


def write_carried(stage: Path, carried: CarriedItems) -> None:
    """Write into a staged release what it took over, for the one after it."""
    if carried.items.height:
        delta_log.append_delta(stage / CARRIED_LOG, CARRIED_OWNER, Delta("add", int(time.time()), carried.items))
    for at_s in sorted(set(carried.removed_s.values())):
        ids = [item_id for item_id, removed_s in carried.removed_s.items() if removed_s == at_s]
        delta_log.append_delta(
            stage / CARRIED_LOG, CARRIED_OWNER, Delta("remove", at_s, pl.DataFrame({"item_id": ids}))
        )


def _read_deltas(store: ReleaseStore) -> list[Delta]:
    versions = store.versions()
    if not versions:
        return []
    try:
        release = store.folder()
    except ArtefactError:  # nothing serves: a publish mends that
        release = store.folder(versions[-1])
    made = delta_log.read_deltas(release / CARRIED_LOG, CARRIED_OWNER).deltas
    file = delta_log.delta_log_file(release)
    if file is not None and file.exists():
        made += delta_log.read_deltas(file, delta_log.release_identity(release)).deltas
    return made


def _returned_items(prepared: PreparedData, removed_s: dict[Id, int]) -> set[Id]:
    """Return which removed items have a later event. Positions are no times, so they cannot tell."""
    if prepared.ordered_only or not removed_s:
        return set()
    ids = prepared.items["item_id"]
    number = np.flatnonzero(ids.is_in(list(removed_s)).to_numpy()) + 1
    event = np.flatnonzero(np.isin(prepared.event_item, number))
    newest_I: NDArray[np.int64] = np.full(prepared.n_items + 1, np.iinfo(np.int64).min)
    np.maximum.at(newest_I, prepared.event_item[event], prepared.event_time[event])
    known = zip(ids[number - 1].to_list(), newest_I[number].tolist(), strict=True)
    return {item_id for item_id, newest_s in known if newest_s > removed_s[item_id]}


class Corpus(NamedTuple):
    """All items, by number."""

    names: pl.DataFrame  # item_id, title
    arrays: dict[str, NDArray[Any]]  # the item arrays of a release
    vector_JD: NDArray[np.float32]
    indexed: NDArray[np.int64]  # numbers of the items that can be retrieved, ascending


def build_corpus(run: Run, carried: CarriedItems, new_items: NewItems | None, tower: Session | None) -> Corpus:
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
        items, topics, vectors = _carried_vectors(prepared, carried.items, new_items, tower)
        number_m = np.arange(prepared.n_items + 1, prepared.n_items + 1 + items.height)
        input_JD = np.concatenate([input_JD, vectors.input_ND])
        vector_JD = np.concatenate([vector_JD, vectors.vector_ND])
        offset, topic = replace_ragged_rows(offset, topic, number_m, topics)
        usable_J = extend_column(usable_J, number_m)
        usable_J[number_m] = has_features(items, topics, new_items.content_width)
        names = pl.concat([names, items.select("item_id", "title")])
    arrays: dict[str, NDArray[Any]] = {
        "item_input": input_JD,
        "item_topic_offset": offset,
        "item_topic": topic,
        "item_count": extend_column(prepared.item_count, number_m),
        "item_usable": usable_J,
    }
    away = np.flatnonzero(names["item_id"].is_in(list(carried.removed_s)).to_numpy()) + 1
    return Corpus(names, arrays, vector_JD, np.setdiff1d(np.flatnonzero(vector_JD.any(axis=1)), away))


def _carried_vectors(
    prepared: PreparedData, items: pl.DataFrame, settings: NewItems, tower: Session | None
) -> tuple[pl.DataFrame, Topics, ItemVectors]:
    """Return those of the items that came of which there are vectors, with their topics."""
    number = {name: t for t, name in enumerate(prepared.topics) if t}
    topics, _ = topic_numbers(items["topics"].to_list(), number)
    vectors, unmade = item_vectors(items, topics, settings, tower)
    row_m = np.setdiff1d(np.arange(items.height), list(unmade)).astype(np.int64)
    items = items[row_m]
    topics, _ = topic_numbers(items["topics"].to_list(), number)
    return items, topics, ItemVectors(*(array[row_m] for array in vectors))


def build_corpus_index(corpus: Corpus, queries: NDArray[np.float32], config: IndexConfig) -> Index:
    """Build the index over all items that can be retrieved, tuned on vectors of real users."""
    topics = select_topics(corpus.arrays["item_topic_offset"], corpus.arrays["item_topic"], corpus.indexed)
    return build_index(
        corpus.indexed,
        corpus.vector_JD[corpus.indexed],
        config,
        topics=topics if len(topics.topic) else None,
        queries=queries,
    )


def usable_items(prepared: PreparedData) -> NDArray[np.bool_]:
    """Return which items have a feature, topics or content (I + 1); all of them where no item has any."""
    usable = np.diff(prepared.item_topic_offset) > 0
    if prepared.item_embedding is not None:
        usable |= prepared.item_embedding.any(axis=1)
    usable = usable if usable.any() else np.ones_like(usable)
    usable[0] = False
    return usable
