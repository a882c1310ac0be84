"""Return to another release: items that were removed stay removed, and items that were added stay, as far as they can.

The vectors of an added item are those of the release that it was added to, so they are computed anew.
"""

import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from multitudes.errors import ArtefactError, MissingError, UnavailableError, UsageError
from multitudes.ids import Id
from multitudes.index.factory import IndexConfig, load_index
from multitudes.index.item_table import find_rows
from multitudes.index.protocol import Index
from multitudes.release.delta_log import Delta
from multitudes.release.manifest import read_manifest
from multitudes.release.overlay import NetDelta, net_delta, removals, topic_numbers
from multitudes.release.release import Release, read_all_deltas
from multitudes.release.signature import read_private_key
from multitudes.release.store import ReleaseStore
from multitudes.retrieval.item_updates import append_delta, item_vectors, new_item_settings

_SHOWN = 5  # ids in a message


class RolledBack(NamedTuple):
    """The version that serves, and the item updates that it took over."""

    version: str
    former: str
    added: list[Id]
    removed: list[Id]
    left: list[Id]  # added to the former version, and not to this one


def show_to_others(index: Index, version: str) -> None:
    """Let other programs find the index of a version that serves, where it is on a server.

    Raises:
        UnavailableError, UsageError: they find another one still; the message says so.
    """
    try:
        index.activate(version)
    except (UnavailableError, UsageError) as error:
        raise type(error)(f"{error}. Version {version} serves, but other programs find the index before it") from None


def list_releases(releases: str | Path) -> tuple[str | None, str | None, list[dict[str, Any]]]:
    """Return the version that serves, what is wrong with ``CURRENT``, and what is known of each version, oldest first.

    ``problem``: it is damaged, or the server of its index has lost it; ``not_asked``: that server does not answer. One
    that fails is asked no more, so the list takes one timeout of each kind of index.

    Raises:
        ArtefactError, UsageError: this is not a folder of releases.
    """
    store, not_asked, rows = ReleaseStore(releases), dict[str, str](), list[dict[str, Any]]()
    versions, current, problem = store.versions(), None, None
    try:
        current = store.current()
    except ArtefactError as error:  # the list must work when a rollback is needed
        problem = str(error)
    for version in versions:
        row: dict[str, Any] = {"version": version, "serves": version == current}
        try:
            manifest = read_manifest(store.folder(version))
            kind, created_at = manifest.index.get("kind", "exact"), manifest.created_at.isoformat()
            row |= {"method": manifest.method, "created_at": created_at, "index": kind, **manifest.counts}
            if kind not in (*IndexConfig.built_in, *not_asked):
                load_index(store.folder(version) / "index")
        except ArtefactError as error:
            row["problem"] = str(error)
        except (MissingError, UnavailableError, UsageError) as error:
            not_asked[kind] = str(error)
        rows.append(row | ({"not_asked": not_asked[kind]} if row.get("index") in not_asked else {}))
    return current, problem, rows


def rollback(
    releases: str | Path,
    to: str | None = None,
    *,
    serving: str | None = None,
    leave_items: bool = False,
    trust: Path | None = None,
    sign: Path | None = None,
) -> RolledBack:
    """Make another version the current one, with the item updates of the version that served.

    If its index is on a server, other programs find it there from now on.

    Args:
        releases: the folder of releases.
        to: the version; by default the one before the current one.
        serving: the version to return from; None: whichever serves.
        leave_items: leave out added items that have no vector in that version.
        trust: a public key, or a folder of them, one of which must have signed the version and the item updates of
            both; None: the key of ``sign``, or none is needed.
        sign: file of the private key that signs the item updates; None: they are not signed.

    Raises:
        UsageError: the version does not exist, the current one is the oldest or another than ``serving``, an added item
            has no vector in that version, item updates must be signed, or another process writes to the folder.
        ArtefactError: nothing is released, the version, its index or a delta log is damaged or gone, or not signed.
    """
    key = None if sign is None else read_private_key(sign)
    trusted = trust or key
    store = ReleaseStore(releases)
    wanted, former = to or store.previous(), serving or store.current()
    added, removed, left, opened = list[Id](), list[Id](), list[Id](), list[Release]()

    def take_over() -> None:
        if (current := store.current()) != former:
            raise UsageError(f"{store.root}: version {current} serves now, and not {former}; nothing was changed")
        release = Release.open(store.folder(wanted), trust=trusted)
        opened.append(release)
        before = net_delta(read_all_deltas(store.folder(former), trusted))
        own = net_delta(read_all_deltas(release.path, trusted))
        addition = _addition(release, before)
        if addition is not None and addition.vector_ND is None:
            left.extend(addition.items["item_id"].to_list())
            if not leave_items:
                raise UsageError(
                    f"{release.path}: {len(left):,} added items have no vector in this version"
                    f" ({first_of([repr(item_id) for item_id in left])}); roll back without them with --leave-items"
                )
        elif addition is not None:
            added.extend(addition.items["item_id"].to_list())
        new = {i: s for i, s in before.removed_s.items() if i not in own.removed_s}
        gone = removals(new, release.items["item_id"].dtype)
        for delta in (*gone, *([addition] if added and addition is not None else [])):
            append_delta(release, delta, key)
        removed.extend(item for delta in gone for item in delta.items["item_id"].to_list())
        release.sync_index()

    try:
        version = store.rollback(wanted, take_over)
    except (ArtefactError, MissingError, UnavailableError) as error:
        raise type(error)(f"{error}. Version {former} still serves") from None
    show_to_others(opened[0].index, version)
    return RolledBack(version, former, added, removed, left)


def _addition(release: Release, before: NetDelta) -> Delta | None:
    """Return the added items that a release does not have; without vectors if it cannot make one for each."""
    ids = before.added
    missing = ~find_rows(release.index.ids(), release.item_names.numbers(ids))[1] if ids else np.zeros(0, bool)
    if not missing.any():
        return None
    items = before.items()[before.rows([ids[i] for i in np.flatnonzero(missing)])]
    addition = Delta("add", int(time.time()), items)
    try:
        settings = new_item_settings(release)
    except (ArtefactError, UsageError):  # it accepts no new items
        return addition
    topics, _ = topic_numbers(items["topics"].to_list(), release.topic_number)
    tower = release.item_tower if settings.vectors == "tower" else None
    vectors, problems = item_vectors(items, topics, settings, tower)
    return addition if problems else Delta("add", addition.at_s, items, *vectors)


def first_of(texts: list[str]) -> str:
    """Return the first of some texts, as one."""
    return ", ".join(texts[:_SHOWN]) + (", …" if len(texts) > _SHOWN else "")
