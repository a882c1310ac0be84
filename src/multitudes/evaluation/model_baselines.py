"""Baselines that are fitted: item-kNN, EASE, iALS, neighbours and the linear model, tuned on the validation split.

Of each, the settings with the highest hit rate at the main budget are used: on first-time targets of the validation
split, whichever split is evaluated. They are chosen stage by stage, those of the fit first, and last the recency of the
history, which costs no further fit. ``linear`` is tuned as a run of that method. The models see the training split
alone, as a run does, and of a history the positive items. Items that a model cannot tell apart, such as all items for
an empty history, are ordered by popularity.

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
from operator import itemgetter
from pathlib import Path
from typing import Any, Final, NamedTuple, get_args
from zipfile import BadZipFile

import numpy as np
import xxhash
from numpy.typing import NDArray
from scipy.sparse import csr_array

from multitudes.atomic import replace_file, write_json
from multitudes.batches.held_out import HeldOut, chunk_users, held_out_users, seen_items
from multitudes.data.own_items import positive_items
from multitudes.data.prepared import TRAIN, PreparedData
from multitudes.errors import DataError, MissingError, UsageError
from multitudes.evaluation.targets import TargetKind, items_to_exclude, subsample, targets_of_kind
from multitudes.linear import fit as low_rank
from multitudes.linear.ease_model import EaseModel, fit_ease
from multitudes.linear.history import HistoryModel, LinearFit
from multitudes.linear.ials import Ials, fit_ials
from multitudes.linear.interactions import history_matrix, interaction_matrix, require_pairs
from multitudes.linear.item_knn import ItemKnn, fit_item_knn
from multitudes.linear.neighbour_fit import choose_neighbours, fit_rows
from multitudes.linear.neighbours import NeighbourFit
from multitudes.linear.popularity import items_by_popularity
from multitudes.linear.run import LinearConfig, Validation
from multitudes.locks import lock
from multitudes.metrics import ranking
from multitudes.progress import Progress, silent

Settings = Mapping[str, Any]
Lists = dict[TargetKind, NDArray[np.int64]]


LinearModel = ItemKnn | EaseModel | Ials | HistoryModel
# The settings that are tried first, and used where there is no validation split.
DEFAULTS: Final[Mapping[str, Settings]] = {
    "item_knn": {"shrinkage": 20.0, "user_exponent": 0.0, "recency": 0.0},
    "ease": {"regularisation": 300.0, "user_exponent": 0.0, "recency": 0.0},
    "ials": {"regularisation": 30.0, "alpha": 3.0, "recency": 0.0},
    "neighbours": NeighbourFit().model_dump(exclude={"weight"}),
    "linear": low_rank.UNTRIED.model_dump(),
}
_RECENCY: Final = tuple({"recency": recency} for recency in (0.25, 0.5, 0.75))
# Stages of changes: each is tried on the best settings of the stages before. The other baselines have stages of theirs.
GRIDS: Final[Mapping[str, tuple[tuple[Settings, ...], ...]]] = {
    "item_knn": (({"shrinkage": 5.0},), ({"user_exponent": 0.3},), _RECENCY),
    "ease": (({"regularisation": 100.0}, {"regularisation": 1000.0}), ({"user_exponent": 0.3},), _RECENCY),
    "ials": (({"regularisation": 10.0, "alpha": 1.0}, {"regularisation": 100.0, "alpha": 10.0}), _RECENCY),
}
RANK: Final = LinearConfig().rank  # of the linear model
MAX_EVENTS: Final = 10_000_000  # of the training split: a fit takes minutes
MAX_LIST_PLACES: Final = 250_000_000  # of all users: 1 GB
MAX_TUNING_USERS: Final = 5000
_MAX_TUNING_SCORES: Final = 10**9  # of all tuning users: bounds their number on a large corpus
_CELLS_PER_CHUNK: Final = 1 << 24  # scores of users × items at once


_CACHE_FOLDER = "baselines"
_CACHE_VERSION = 2  # raise it where the same key gives another content
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
    own: str = "",
) -> dict[str, ModelBaseline]:
    """Return the baselines that are fitted, with their lists of ``length`` places for the users of an evaluation.

    They are tuned on validation by the hits among ``budget`` candidates. First-time targets exclude the history.
    ``own`` is the method of the run: a baseline of that name is left out.
    """
    names = [name for name in DEFAULTS if name != own]
    if reason := _absence(prepared, len(held) * length):
        return {name: ModelBaseline({}, {"absent": reason}) for name in names}
    found = {}
    with _hold_cache(prepared) as cache:
        fitting = _Fitting(prepared, cache, held, kinds, length, budget, progress, names)
        for name in names:
            try:
                found[name] = fitting.baseline(name)
            except (UsageError, DataError, MissingError) as error:
                found[name] = ModelBaseline({}, {"absent": str(error)})
    progress(len(names), len(names), "baselines")
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
    names: Sequence[str]

    def baseline(self, name: str) -> ModelBaseline:
        held, kinds, length = self.held, self.kinds, self.length
        tuning_key = [name, DEFAULTS[name], GRIDS.get(name, ()), self.budget]
        record, model = self.cache.read_record(tuning_key), None
        if record is None:
            record, model = self._tune(name)
            self.cache.write_record(tuning_key, record)
        lists_key = [name, record["settings"], list(kinds), length, held.user_B, held.end_B, held.target_is_first_time]
        lists = self.cache.read_lists(lists_key)
        if lists is None:
            model = model or self._fit(name, record["settings"])
            users = {kind: targets_of_kind(held, kind) for kind in kinds}
            recency = record["settings"]["recency"]
            lists = {kind: self._list(model, recency, users[kind], kind, length) for kind in kinds}
            self.cache.write_lists(lists_key, lists)
        return ModelBaseline(lists, record)

    def _tune(self, name: str) -> tuple[dict[str, Any], LinearModel]:
        """Return the settings with the highest hit rate on validation, with all trials, and their model."""
        model: LinearModel
        chosen, trials = DEFAULTS[name], [{**DEFAULTS[name], "hit_rate": None}]
        if name in ("linear", "neighbours"):
            require_pairs(self._matrix, self.prepared)
        if not len(self._users):
            model = self._fit(name, chosen)
        elif name == "neighbours":
            model, fit, _, trials = choose_neighbours(self._matrix, self._hit_rate, self._told(name))
            chosen = fit.model_dump(exclude={"weight"})
        elif name == "linear":
            judge = Validation.sample(self.prepared).hit_rate
            found = low_rank.fit(self._matrix, RANK, judge, progress=self._told(name))
            model, trials = found.factors, list(map(dict, found.trials))
            chosen = found.chosen.model_dump()
        else:
            model, chosen, trials = self._search(name)
        # The rate of a linear run counts no hits of users without a vector, so it keeps the name that it has there.
        rate = "hit_rate" if name == "linear" else f"hr@{self.budget}"
        told = [{rate if key == "hit_rate" else key: one[key] for key in one} for one in trials]
        return {"settings": chosen, "users": len(self._users), "trials": told}, model

    def _search(self, name: str) -> tuple[LinearModel, Settings, list[dict[str, Any]]]:
        """Return the model, the settings and the trials of a search by the stages of ``GRIDS``; ties: the first."""
        model = self._fit(name, DEFAULTS[name])
        best = self._hit_rate(model, DEFAULTS[name]["recency"]), model, DEFAULTS[name]
        trials = [{**DEFAULTS[name], "hit_rate": best[0]}]
        for stage in GRIDS[name]:
            _, model, settings = best
            for change in stage:
                tried = {**settings, **change}
                other = model if change.keys() == {"recency"} else self._fit(name, tried)
                rate = self._hit_rate(other, tried["recency"])
                trials.append({**tried, "hit_rate": rate})
                best = max(best, (rate, other, tried), key=itemgetter(0))
        return best[1], best[2], trials

    def _hit_rate(self, model: LinearModel, recency: float) -> float:
        """Return the share of the validation targets in the lists of a model."""
        ranked_BN = self._list(model, recency, self._users, "new", self.budget)
        rank_T = ranking.ranks_in_list(ranked_BN, self._users.target_offset, self._users.target)
        return round(float(np.isfinite(rank_T).mean()), 6)

    def _fit(self, name: str, settings: Settings) -> LinearModel:
        """Fit a baseline, and tell so before."""
        self._told(name)(0, 1, ", ".join(f"{setting} {value}" for setting, value in settings.items()))
        if name == "linear":
            return low_rank.fit(self._matrix, RANK, untried=LinearFit(**settings)).factors
        return fit_model(name, self._matrix, settings)

    def _told(self, name: str) -> Progress:
        """Return a callback that tells what is done of one baseline as the note of how many are finished."""

        def tell(done: int, total: int, note: str = "") -> None:
            del done, total
            self.progress(self.names.index(name), len(self.names), f"baseline {name}, {note}")

        return tell

    def _list(
        self, model: LinearModel, recency: float, users: HeldOut, kind: TargetKind, length: int
    ) -> NDArray[np.int64]:
        return list_items(model.scores, self.prepared, users, kind, length, self._popular, recency)

    @cached_property
    def _users(self) -> HeldOut:
        """Users with first-time targets in validation, by whose hits settings are chosen."""
        most = min(MAX_TUNING_USERS, max(1, _MAX_TUNING_SCORES // (self.prepared.n_items + 1)))
        return targets_of_kind(subsample(held_out_users(self.prepared, "validation"), most, 0), "new")

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
    recency: float = 0.0,
) -> NDArray[np.int64]:
    """Return the ``length`` items with the highest scores for the entire history of each user, shape (B, N).

    ``scores`` returns those of all items for histories (B, I + 1) of weights by ``recency``. Equal ones are in the
    order of ``popular``; for first-time targets, the history is excluded.
    """
    step = max(1, min(256, _CELLS_PER_CHUNK // (prepared.n_items + 1)))
    chunks = [np.zeros((0, length), dtype=np.int64)]
    for chunk in chunk_users(users, step):
        positives = positive_items(prepared, chunk.user_B, chunk.end_B)
        scores_BI = scores(history_matrix(positives, prepared.n_items, recency))
        excluded = items_to_exclude(seen_items(prepared, chunk), kind)
        chunks.append(best_items(scores_BI, popular, excluded, length))
    return np.concatenate(chunks)


def fit_model(name: str, matrix: csr_array, settings: Settings) -> LinearModel:
    """Return a model of ``DEFAULTS``, but ``linear``, fitted to interactions, shape (U, I + 1).

    Raises:
        UsageError: the data are too large for it.
    """
    if name == "neighbours":
        return fit_rows(matrix, NeighbourFit(**settings))
    fits: dict[str, Callable[..., LinearModel]] = {"item_knn": fit_item_knn, "ease": fit_ease, "ials": fit_ials}
    return fits[name](matrix, **{key: value for key, value in settings.items() if key != "recency"})


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
