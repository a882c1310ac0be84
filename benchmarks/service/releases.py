"""The world published twice, with one vector per user and with twelve, and a user state store.

Both releases hold the same items, each in an index that is tuned as ``publish`` tunes it: on vectors of its own users.
"""

import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from benchmarks.service.towers import CONDITIONS, INTERESTS, NORM, write_tower
from benchmarks.service.world import Sizes, World, draw_world
from benchmarks.timing import print_progress
from multitudes.batches.histories import gather_histories
from multitudes.batches.user_vectors import InterestKind, UserHistories, UserVectors
from multitudes.data.own_items import group_events
from multitudes.index.exact import ExactIndex
from multitudes.index.factory import IndexConfig, build_index
from multitudes.index.live import LiveIndex
from multitudes.index.protocol import Index
from multitudes.nn.methods import Method
from multitudes.release.manifest import Manifest
from multitudes.release.release import USER_TOWER, Release, write_release
from multitudes.release.store import ReleaseStore
from multitudes.retrieval.config import DEFAULT_CALIBRATION
from multitudes.retrieval.preferences import draw_topics as draw_conditions
from multitudes.retrieval.user_vectors import user_vectors
from multitudes.state.protocol import UserState
from multitudes.state.store import event_with_derived_id, load_users, open_state_store
from multitudes.training.run_release import item_tastes

METHODS: tuple[Method, ...] = ("single", "joint")
_CONTENT = 5  # raise it where a kept world would no longer be what is measured
STORE, UNTUNED = "state.sqlite", "untuned"
_DAY_S, _NEWEST_S = 86_400, 1_750_000_000
_ACTION = "view"
_TUNING_USERS = 200
_UNCONDITIONED: tuple[InterestKind, ...] = ("unconditioned",)
_IMPLICIT: tuple[InterestKind, ...] = ("implicit",)
_EXPLICIT: tuple[InterestKind, ...] = ("explicit",)
_KINDS: dict[Method, tuple[InterestKind, ...]] = {
    "single": _UNCONDITIONED,
    "joint": (*_UNCONDITIONED, *_IMPLICIT * INTERESTS, *_EXPLICIT * CONDITIONS),
}
_RETRIEVAL: dict[Method, dict[str, Any]] = {  # the list of one vector is not divided among tastes
    "single": {"topics_per_request": 0, "calibration": 0.0},
    "joint": {"topics_per_request": CONDITIONS, "calibration": DEFAULT_CALIBRATION},
}


def world_folder(sizes: Sizes, work: Path) -> Path:
    """Return the folder of the world, with releases by method and a state store; create it if it is missing."""
    folder = work / f"{sizes}-{_CONTENT}"
    if not (folder / STORE).exists():
        folder.mkdir(parents=True, exist_ok=True)
        world = draw_world(sizes)
        _publish_all(world, sizes, folder)
        draft = folder / f".{STORE}"
        draft.unlink(missing_ok=True)
        with closing(open_state_store(draft)) as states:
            load_users(states, _user_states(world, sizes), sizes.users, print_progress("states"))
        draft.rename(folder / STORE)  # last: it marks the world as complete
    return folder


def _publish_all(world: World, sizes: Sizes, folder: Path) -> None:
    small = LiveIndex(
        ExactIndex.build([1], world.item_ID[:1])
    )  # in place of an index that is tuned on what a tower gives
    for method in METHODS:
        write_tower(method, world.centre_TD, sizes.history, _tower(folder, method))
        vectors = _vectors(_publish_release(world, sizes, folder / UNTUNED, method, small))
        shutil.rmtree(folder / UNTUNED)
        index = build_index(
            np.arange(1, sizes.items + 1),
            world.item_ID,
            IndexConfig(),
            topics=world.topics,
            queries=vectors.vectors_BKD[vectors.mask_BK],
            progress=print_progress(f"index of {method}"),
        )
        _publish_release(world, sizes, folder / method, method, index)


def _publish_release(world: World, sizes: Sizes, root: Path, method: Method, index: Index) -> Path:
    """Publish a release and return its folder."""
    store = ReleaseStore(root)
    with store.stage() as stage:
        shutil.copy(_tower(root.parent, method), stage / USER_TOWER)
        manifest = Manifest(
            method=method,
            kinds=_KINDS[method],
            history_length=sizes.history,
            actions=(_ACTION,),
            default_action=1,
            ordered_only=False,
            counts={"users": sizes.users, "items": sizes.items, "topics": sizes.topics},
            retrieval=_RETRIEVAL[method],
            index=index.info(),
        )
        items = pl.DataFrame({"item_id": np.arange(1, sizes.items + 1)})
        items = items.with_columns(title=pl.format("Item number {}", "item_id"))
        topics = ["", *(f"Topic {t}" for t in range(1, sizes.topics + 1))]
        write_release(
            stage, manifest, _arrays(world, sizes), index, pl.Series(range(1, sizes.users + 1)), items, topics
        )
        store.commit(stage)
    return store.folder()


def _tower(folder: Path, method: Method) -> Path:
    return folder / f"{method}.onnx"


def _arrays(world: World, sizes: Sizes) -> dict[str, NDArray[Any]]:
    newest_UL = world.seen_UL[:, -sizes.history :]
    users, length = newest_UL.shape
    seen, follows = (array.shape[1] for array in (world.seen_UL, world.follow_UF))
    own = group_events(np.repeat(np.arange(users), seen), world.seen_UL.ravel(), users)
    item_ID = np.concatenate([np.zeros((1, sizes.width), dtype=np.float32), world.item_ID])
    return {
        "item_input": NORM * item_ID,
        **item_tastes(item_ID),
        "item_topic_offset": np.concatenate([[0], world.topics.offset]),
        "item_topic": world.topic_I,
        "item_count": np.concatenate([[0], 1 + np.bincount(world.seen_UL.ravel(), minlength=sizes.items + 1)[1:]]),
        "item_usable": np.arange(sizes.items + 1) > 0,
        "event_offset": length * np.arange(users + 1),
        "event_item": newest_UL.ravel(),
        "event_time": np.tile(_times(length), users),
        "event_action": np.ones(newest_UL.size),
        "event_valid": np.ones(newest_UL.size),
        "seen_offset": seen * np.arange(users + 1),
        "seen_item": np.sort(world.seen_UL, axis=1).ravel(),
        "follow_offset": follows * np.arange(users + 1),
        "follow_topic": world.follow_UF.ravel(),
        "user_feature": np.zeros((users, 0)),
        **dict(zip(("own_offset", "own_item", "own_count", "own_newest", "own_oldest"), own, strict=True)),
    }


def _times(length: int) -> NDArray[np.int64]:
    """Return when the events of a history were, oldest first: one a day."""
    return _NEWEST_S - _DAY_S * np.arange(length)[::-1]


def _vectors(folder: Path) -> UserVectors:
    """Return the vectors of some users of a release."""
    release = Release.open(folder)
    user_B = np.arange(min(release.n_users, _TUNING_USERS))
    histories = gather_histories(release, user_B, release.event_offset[user_B + 1], release.manifest.history_length)
    conditions = release.manifest.kinds.count("explicit")
    return user_vectors(release, UserHistories(histories, draw_conditions(histories.follow_BF, conditions, user_B)))


def _user_states(world: World, sizes: Sizes) -> Iterator[UserState]:
    """Yield the user states that ``multitudes state load`` would write, with the events that a tower reads."""
    time_L = _times(sizes.history).tolist()
    for user, (item_L, follow_F) in enumerate(zip(world.seen_UL.tolist(), world.follow_UF.tolist(), strict=True), 1):
        newest = zip(item_L[-sizes.history :], time_L, strict=True)
        events = tuple(event_with_derived_id(user, item, time_s, _ACTION) for item, time_s in newest)
        yield UserState(user, events, tuple(f"Topic {t}" for t in follow_F))
