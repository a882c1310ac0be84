"""Baselines that are fitted: item-kNN, EASE and iALS, each with a small grid tuned on the validation split.

Of each, the settings with the highest hit rate at the main budget are used: on first-time targets of the validation
split, whichever split is evaluated. The models see the training split alone, as a run does. Items that a model cannot
tell apart, such as all items for an empty history, are ordered by popularity.

What was tuned and listed is kept beside the data, so the next evaluation on the same data reads it::

    PREPARED/baselines/<digest>.json   settings and trials of a baseline
                       <digest>.npz    lists of a baseline for the users of an evaluation

A digest covers the data and everything that the content depends on. Files appear complete or not at all; what cannot be
read or written is computed again, and the folder may be deleted.

Legend: B users · I items · N places.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final, NamedTuple, get_args
from zipfile import BadZipFile

import numpy as np
import xxhash
from numpy.typing import NDArray
from scipy.sparse import csr_array

from multitudes.atomic import replace_file, write_json
from multitudes.batches.held_out import HeldOut, chunk_users, held_out_users, seen_items
from multitudes.data.prepared import TRAIN, PreparedData
from multitudes.errors import UsageError
from multitudes.evaluation.targets import TargetKind, items_to_exclude, subsample, targets_of_kind
from multitudes.linear.ease_model import EaseModel, fit_ease
from multitudes.linear.ials import Ials, fit_ials
from multitudes.linear.interactions import interaction_matrix
from multitudes.linear.item_knn import ItemKnn, fit_item_knn
from multitudes.linear.popularity import items_by_popularity
from multitudes.locks import lock
from multitudes.metrics import ranking
from multitudes.progress import Progress, silent

Settings = Mapping[str, float]
Lists = dict[TargetKind, NDArray[np.int64]]
LinearModel = ItemKnn | EaseModel | Ials
# The settings to try; the first are used where there is no validation split.
GRIDS: Final[Mapping[str, tuple[Settings, ...]]] = {
    "item_knn": ({"shrinkage": 20}, {"shrinkage": 5}),
    "ease": ({"regularisation": 300}, {"regularisation": 100}, {"regularisation": 1000}),
    "ials": (
        {"regularisation": 30, "alpha": 3},
        {"regularisation": 10, "alpha": 1},
        {"regularisation": 100, "alpha": 10},
    ),
}
_TRIALS: Final = [(name, settings) for name, grid in GRIDS.items() for settings in grid]
MAX_EVENTS: Final = 10_000_000  # of the training split: a fit takes minutes
MAX_LIST_PLACES: Final = 250_000_000  # of all users: 1 GB
MAX_TUNING_USERS: Final = 5000
_CELLS_PER_CHUNK: Final = 1 << 24  # scores of users × items at once


_CACHE_FOLDER = "baselines"
_CACHE_VERSION = 1  # raise it where the same key gives another content
# What the models, their histories and the targets of the tuning are made of.
_DIGESTED_ARRAYS = ("event_offset", "event_item", "event_split", "event_weight", "event_after_follows", "item_count")

Key = Sequence[Any]  # JSON values and arrays


class BaselineCache(NamedTuple):
    """The cache of one prepared data set."""

    folder: Path
    data_digest: str

    @classmethod
    def of(cls, prepared: PreparedData) -> "BaselineCache":
        """Return the cache of a data set; nothing is written yet."""
        digest = xxhash.xxh3_128()
        for name in _DIGESTED_ARRAYS:
            digest.update(np.ascontiguousarray(getattr(prepared, name)).data)
        return cls(prepared.path / _CACHE_FOLDER, digest.hexdigest())

    def read_record(self, key: Key) -> dict[str, Any] | None:
        """Return the record of a key; None: there is none."""
        with suppress(OSError, ValueError):
            record: dict[str, Any] = json.loads(self._file(key, "json").read_text(encoding="utf-8"))
            return record if isinstance(record, dict) and "settings" in record else None
        return None

    def write_record(self, key: Key, record: dict[str, Any]) -> None:
        """Keep a record, if the folder can be written."""
        with suppress(OSError):
            write_json(self._file(key, "json"), record)

    def read_lists(self, key: Key) -> Lists | None:
        """Return the lists of a key, by kind of targets; None: there are none."""
        try:
            with np.load(self._file(key, "npz"), allow_pickle=False) as file:
                return {kind: file[kind].astype(np.int64) for kind in get_args(TargetKind) if kind in file}
        except (OSError, ValueError, EOFError, BadZipFile):
            return None

    def write_lists(self, key: Key, lists: Lists) -> None:
        """Keep lists, if the folder can be written, in the smallest type that holds the items."""
        largest = max((int(items.max(initial=0)) for items in lists.values()), default=0)
        small = {str(kind): items.astype(np.min_scalar_type(largest)) for kind, items in lists.items()}
        with suppress(OSError), replace_file(self._file(key, "npz"), shared=True) as partial, partial.open("wb") as out:
            np.savez(out, **small)  # type: ignore[arg-type]

    def _file(self, key: Key, suffix: str) -> Path:
        digest = xxhash.xxh3_128(f"{_CACHE_VERSION} {self.data_digest}".encode())
        for part in key:
            is_array = isinstance(part, np.ndarray)
            digest.update(np.ascontiguousarray(part).data if is_array else json.dumps(part, sort_keys=True).encode())
            digest.update(b"\0")
        return self.folder / f"{digest.hexdigest()}.{suffix}"


class ModelBaseline(NamedTuple):
    """A baseline with its lists, or the reason why it is absent."""

    lists: Lists  # (B, N) by kind of targets, for the users that have such targets
    record: dict[str, Any]  # for the result: settings and trials, or absent


def model_baselines(
    prepared: PreparedData,
    held: HeldOut,
    kinds: Sequence[TargetKind],
    length: int,
    budget: int,
    progress: Progress = silent,
) -> dict[str, ModelBaseline]:
    """Return the baselines that are fitted, with their lists of ``length`` places for the users of an evaluation.

    They are tuned on validation by the hits among ``budget`` candidates. First-time targets exclude the history.
    """
    if reason := _absence(prepared, len(held) * length):
        return {name: ModelBaseline({}, {"absent": reason}) for name in GRIDS}
    found = {}
    with _hold_cache(prepared) as cache:
        fitting = _Fitting(prepared, cache, held, kinds, length, budget, progress)
        for name in GRIDS:
            try:
                found[name] = fitting.baseline(name)
            except UsageError as error:
                found[name] = ModelBaseline({}, {"absent": str(error)})
    progress(len(_TRIALS), len(_TRIALS), "baselines")
    return found


@contextmanager
def _hold_cache(prepared: PreparedData) -> Iterator[BaselineCache]:
    """Yield the cache; of several evaluations on the same data, the first computes and the others wait and read."""
    cache = BaselineCache.of(prepared)
    with ExitStack() as stack:
        with suppress(OSError):  # a folder that cannot be written
            cache.folder.mkdir(exist_ok=True)
            stack.enter_context(lock(cache.folder / ".lock"))
        yield cache


def _absence(prepared: PreparedData, places: int) -> str | None:
    """Return why no baseline can be fitted; None: they can."""
    events = int(np.count_nonzero(prepared.event_split == TRAIN))
    if events > MAX_EVENTS:
        return f"{events:,} training events; fitted on at most {MAX_EVENTS:,}"
    if places > MAX_LIST_PLACES:
        return f"lists of {places:,} places for all users; expected at most {MAX_LIST_PLACES:,}: give max_users"
    return None


@dataclass
class _Fitting:
    """Tunes, fits and lists; what the models share is computed once, and nothing if all is known."""

    prepared: PreparedData
    cache: BaselineCache
    held: HeldOut
    kinds: Sequence[TargetKind]
    length: int
    budget: int
    progress: Progress

    def baseline(self, name: str) -> ModelBaseline:
        held, kinds, length = self.held, self.kinds, self.length
        tuning_key = [name, GRIDS[name], self.budget]
        record, model = self.cache.read_record(tuning_key), None
        if record is None:
            record, model = self._tune(name)
            self.cache.write_record(tuning_key, record)
        lists_key = [name, record["settings"], list(kinds), length, held.user_B, held.end_B, held.target_is_first_time]
        lists = self.cache.read_lists(lists_key)
        if lists is None:
            model = model or self._fit(name, record["settings"])
            users = {kind: targets_of_kind(held, kind) for kind in kinds}
            lists = {kind: self._list(model, users[kind], kind, length) for kind in kinds}
            self.cache.write_lists(lists_key, lists)
        return ModelBaseline(lists, record)

    def _tune(self, name: str) -> tuple[dict[str, Any], LinearModel]:
        """Return the settings of the grid with the highest hit rate on validation, and their model."""
        validation = subsample(held_out_users(self.prepared, "validation"), MAX_TUNING_USERS, 0)
        users = targets_of_kind(validation, "new")
        grid = GRIDS[name] if len(users) else GRIDS[name][:1]
        record: dict[str, Any] = {"settings": None, "users": len(users), "trials": []}
        highest, best = -1.0, None
        for settings in grid:
            model = self._fit(name, settings)
            ranked_BN = self._list(model, users, "new", self.budget)
            rank_T = ranking.ranks_in_list(ranked_BN, users.target_offset, users.target)
            rate = round(float(np.isfinite(rank_T).mean()), 6) if len(users) else 0.0
            if rate > highest:
                highest, best, record["settings"] = rate, model, dict(settings)
            record["trials"].append({**settings, f"hr@{self.budget}": rate if len(users) else None})
        assert best is not None
        return record, best

    def _fit(self, name: str, settings: Settings) -> LinearModel:
        """Fit a baseline, and tell so before."""
        told = ", ".join(f"{setting} {value}" for setting, value in settings.items())
        self.progress(_TRIALS.index((name, settings)), len(_TRIALS), f"baseline {name}, {told}")
        return fit_model(name, self._matrix, settings)

    def _list(self, model: LinearModel, users: HeldOut, kind: TargetKind, length: int) -> NDArray[np.int64]:
        return list_items(model.scores, self.prepared, users, kind, length, self._popular)

    @cached_property
    def _matrix(self) -> csr_array:
        return interaction_matrix(self.prepared)

    @cached_property
    def _popular(self) -> NDArray[np.int64]:
        """All items, those of the most users first; ties by events, then by item number."""
        return items_by_popularity(self._matrix.sum(axis=0), self.prepared.item_count)


def list_items(
    scores: Callable[[csr_array], NDArray[np.float32]],
    prepared: PreparedData,
    users: HeldOut,
    kind: TargetKind,
    length: int,
    popular: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Return the ``length`` items with the highest scores for the entire history of each user, shape (B, N).

    ``scores`` returns those of all items for histories (B, I + 1). Equal ones are in the order of ``popular``;
    for first-time targets, the history is excluded.
    """
    step = max(1, min(256, _CELLS_PER_CHUNK // (prepared.n_items + 1)))
    chunks = [np.zeros((0, length), dtype=np.int64)]
    for chunk in chunk_users(users, step):
        histories = seen_items(prepared, chunk)
        scores_BI = scores(history_matrix(histories, prepared.n_items))
        chunks.append(best_items(scores_BI, popular, items_to_exclude(histories, kind), length))
    return np.concatenate(chunks)


def fit_model(name: str, matrix: csr_array, settings: Settings) -> LinearModel:
    """Return a model of ``GRIDS``, fitted to interactions, shape (U, I + 1).

    Raises:
        UsageError: the data are too large for it.
    """
    fits: dict[str, Callable[..., LinearModel]] = {"item_knn": fit_item_knn, "ease": fit_ease, "ials": fit_ials}
    return fits[name](matrix, **settings)


def history_matrix(histories: Sequence[NDArray[np.int64]], n_items: int) -> csr_array:
    """Return the histories as a binary matrix, shape (B, I + 1)."""
    item = np.concatenate([np.empty(0, dtype=np.int64), *(np.sort(items) for items in histories)])
    offset = np.cumsum([0, *map(len, histories)])
    return csr_array((np.ones(len(item), dtype=np.float32), item, offset), shape=(len(histories), n_items + 1))


def best_items(
    scores_BI: NDArray[np.float32], popular: NDArray[np.int64], excluded: Sequence[NDArray[np.int64]], length: int
) -> NDArray[np.int64]:
    """Return the items with the highest scores of each user, shape (B, N); zeros at the end if there are too few.

    The scores (B, I + 1) are overwritten; column 0 is not read. Equal ones are in the order of ``popular``, all items.
    """
    lists = np.zeros((len(scores_BI), length), dtype=np.int64)
    for row, score_I, left_out in zip(lists, scores_BI, excluded, strict=True):
        score_I[left_out] = -np.inf
        score = score_I[popular]
        depth = min(length, len(popular) - len(left_out))
        if depth > 0:
            place = np.flatnonzero(score >= np.partition(score, -depth)[-depth])
            row[:depth] = popular[place[np.argsort(-score[place], kind="stable")[:depth]]]
    return lists
