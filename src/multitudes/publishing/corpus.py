"""The items of a new release: those of the run's data, followed by items carried over from the current release.

Items that were added to the current release and are not in the data get vectors of the new tower. Items that were
removed from it stay removed, unless the data has an event with them after their removal.

Legend: I items of the data · J items of the release · m carried items · D width.
"""

import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from multitudes.batches.user_vectors import UserVectors
from multitudes.data.prepared import PreparedData
from multitudes.errors import ArtefactError, UsageError
from multitudes.ids import Id
from multitudes.index.factory import IndexConfig, build_index
from multitudes.index.item_table import select_topics
from multitudes.index.protocol import Index, Topics
from multitudes.linear.popularity import user_counts
from multitudes.release import delta_log
from multitudes.release.delta_log import Delta
from multitudes.release.manifest import NewItems
from multitudes.release.onnx_session import Session
from multitudes.release.overlay import (
    extend_column,
    has_features,
    net_delta,
    removals,
    replace_ragged_rows,
    topic_numbers,
)
from multitudes.release.release import CARRIED_LOG, CARRIED_OWNER, read_all_deltas
from multitudes.release.signature import PrivateKey, Trust
from multitudes.release.store import ReleaseStore
from multitudes.retrieval.item_updates import ItemVectors, item_vectors
from multitudes.training.run_release import item_tastes, usable_items
from multitudes.training.runs import Run


class CarriedItems(NamedTuple):
    """The item updates that a release takes over from the one before."""

    items: pl.DataFrame  # rows as given, of added items that the data does not have
    removed_s: dict[Id, int]  # items that stay removed, with the time of the removal


def carry_over(store: ReleaseStore, prepared: PreparedData, trust: Trust | None = None) -> CarriedItems:
    """Return the item updates of the current release that the next one takes over; none if nothing is released.

    Raises:
        ArtefactError: a delta log is damaged, or no key of ``trust`` signed it.
        UsageError: the ids of the updates are of another type than those of the data.
    """
    deltas = _read_deltas(store, trust)
    net, known = net_delta(deltas), prepared.items["item_id"]
    if not deltas:
        return CarriedItems(pl.DataFrame(schema={"item_id": known.dtype}), {})
    types = {delta.items["item_id"].dtype for delta in deltas}
    if types != {known.dtype}:
        raise UsageError(
            f"{store.root}: its items have ids of another type than {prepared.path}; publish into another folder"
        )
    items = net.items()[net.rows(net.added)] if net.last_row else pl.DataFrame(schema={"item_id": known.dtype})
    returned = _returned_items(prepared, net.removed_s)
    return CarriedItems(
        items.filter(~pl.col("item_id").is_in(known.implode())),
        {item_id: at_s for item_id, at_s in net.removed_s.items() if item_id not in returned},
    )


def write_carried_items(stage: Path, carried: CarriedItems, key: PrivateKey | None = None) -> None:
    """Write the carried items into a staged release, for the release after it, signed by ``key``."""
    deltas = removals(carried.removed_s, carried.items["item_id"].dtype)
    if carried.items.height:
        deltas.insert(0, Delta("add", int(time.time()), carried.items))
    for delta in deltas:
        delta_log.append_delta(stage / CARRIED_LOG, CARRIED_OWNER, delta, key)


def _read_deltas(store: ReleaseStore, trust: Trust | None) -> list[Delta]:
    """Return the deltas of the current release: those that it carried over, then those since it was published."""
    versions = store.versions()
    if not versions:
        return []
    try:
        release = store.folder()
    except ArtefactError:  # CURRENT is damaged; publishing repairs it
        release = store.folder(versions[-1])
    return read_all_deltas(release, trust)


def _returned_items(prepared: PreparedData, removed_s: dict[Id, int]) -> set[Id]:
    """Return the removed items with an event after their removal; none if times are only positions."""
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
    """All items of a release, by number."""

    names: pl.DataFrame  # item_id, title
    arrays: dict[str, NDArray[Any]]  # the item arrays of a release
    vector_JD: NDArray[np.float32]
    indexed: NDArray[np.int64]  # numbers of the items that can be retrieved, ascending


def build_corpus(run: Run, carried: CarriedItems, new_items: NewItems, tower: Session | None) -> Corpus:
    """Collect the items of a release; carried items get the vectors of the tower, if there is one, or are left out."""
    prepared = run.prepared
    input_JD, vector_JD, names = run.item_inputs(), run.item_vectors(), prepared.items
    offset, topic, usable_J = prepared.item_topic_offset, prepared.item_topic, usable_items(prepared)
    number_m: NDArray[np.int64] = np.zeros(0, dtype=np.int64)
    if carried.items.height:
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
        "item_count": extend_column(user_counts(prepared), number_m),
        "item_usable": usable_J,
        **item_tastes(vector_JD),
    }
    removed = np.flatnonzero(names["item_id"].is_in(list(carried.removed_s)).to_numpy()) + 1
    return Corpus(names, arrays, vector_JD, np.setdiff1d(np.flatnonzero(vector_JD.any(axis=1)), removed))


def _carried_vectors(
    prepared: PreparedData, items: pl.DataFrame, settings: NewItems, tower: Session | None
) -> tuple[pl.DataFrame, Topics, ItemVectors]:
    """Return the carried items that have vectors, with their topics and vectors."""
    number = {name: t for t, name in enumerate(prepared.topics) if t}
    topics, _ = topic_numbers(items["topics"].to_list(), number)
    vectors, problems = item_vectors(items, topics, settings, tower)
    row_m = np.setdiff1d(np.arange(items.height), list(problems)).astype(np.int64)
    items = items[row_m]
    topics, _ = topic_numbers(items["topics"].to_list(), number)
    return items, topics, ItemVectors(*(array[row_m] for array in vectors))


def build_corpus_index(corpus: Corpus, vectors: UserVectors, config: IndexConfig) -> Index:
    """Build the index of all items that can be retrieved, tuned for the vectors of users."""
    topics = select_topics(corpus.arrays["item_topic_offset"], corpus.arrays["item_topic"], corpus.indexed)
    return build_index(
        corpus.indexed,
        corpus.vector_JD[corpus.indexed],
        config,
        topics=topics if len(topics.topic) else None,
        names=corpus.names[corpus.indexed - 1],
        queries=vectors.vectors_BKD[vectors.mask_BK],
    )
