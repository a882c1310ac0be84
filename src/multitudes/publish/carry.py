"""What came to the release that serves, and left it, is taken into the next one.

Items that the new run's data does not have get vectors of the new tower. Items that were removed stay away, unless the
data has an event of theirs that is later than their removal.
"""

import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from multitudes.data.prepared import Prepared
from multitudes.errors import ArtefactError, UsageError
from multitudes.ids import Id
from multitudes.release import changes
from multitudes.release.arrivals import outcome
from multitudes.release.changes import Change
from multitudes.release.release import CARRIED, CARRIED_OWNER
from multitudes.release.store import ReleaseStore


class Carried(NamedTuple):
    """What goes from one release into the next."""

    items: pl.DataFrame  # rows as they were given, of items that the data of the new run does not have
    removed_s: dict[Id, int]  # items that stay away, and when they were removed


def carried(store: ReleaseStore, prepared: Prepared) -> Carried:
    """Return what goes from the release that serves into one of a run on ``prepared``.

    Raises:
        ArtefactError: the file of changes is damaged.
        UsageError: items came, and their ids are of another type than those of the data.
    """
    made = _changes(store)
    net, known = outcome(made), prepared.items["item_id"]
    if not made:
        return Carried(pl.DataFrame(schema={"item_id": known.dtype}), {})
    types = {change.items["item_id"].dtype for change in made}
    if types != {known.dtype}:
        raise UsageError(
            f"{store.root}: its items have ids of another type than {prepared.path}; publish into another folder"
        )
    items = net.items()[net.rows(net.added)] if net.last else pl.DataFrame(schema={"item_id": known.dtype})
    back = _back(prepared, net.removed_s)
    return Carried(
        items.filter(~pl.col("item_id").is_in(known.implode())),
        {item_id: at_s for item_id, at_s in net.removed_s.items() if item_id not in back},
    )


def keep(stage: Path, carried: Carried) -> None:
    """Write into a staged release what it took over, for the one after it."""
    if carried.items.height:
        changes.append(stage / CARRIED, CARRIED_OWNER, Change("add", int(time.time()), carried.items))
    for at_s in sorted(set(carried.removed_s.values())):
        ids = [item_id for item_id, removed_s in carried.removed_s.items() if removed_s == at_s]
        changes.append(stage / CARRIED, CARRIED_OWNER, Change("remove", at_s, pl.DataFrame({"item_id": ids})))


def _changes(store: ReleaseStore) -> list[Change]:
    versions = store.versions()
    if not versions:
        return []
    try:
        release = store.folder()
    except ArtefactError:  # nothing serves: a publish mends that
        release = store.folder(versions[-1])
    made = changes.read(release / CARRIED, CARRIED_OWNER).changes
    file = changes.file_of(release)
    if file is not None and file.exists():
        made += changes.read(file, changes.identity(release)).changes
    return made


def _back(prepared: Prepared, removed_s: dict[Id, int]) -> set[Id]:
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
