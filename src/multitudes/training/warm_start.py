"""Warm start: train a finished run further on newer data, so that daily training need not start from random weights.

Weights of items, topics and actions are matched by name, since their numbers change with the data; new ones start as in
any training. The optimiser state is restored in the same way if the earlier run kept it
(``training/optimizer_state.py``). The frequency of each item among the negatives, which logQ needs, comes from that
state; for new items, and without a state, it starts as the item's share of the training events, until steps have
measured it.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from multitudes.batches.negatives import StreamingFrequency
from multitudes.batches.windows import eligible_targets
from multitudes.config import NO_OVERRIDES, Config, deep_merge, load_section, parse
from multitudes.data.arrays import user_chunks
from multitudes.data.prepared import PreparedData
from multitudes.errors import ArtefactError, UsageError
from multitudes.nn.user_tower_config import UserTowerConfig
from multitudes.pinnersage.run import item_embeddings
from multitudes.run_record import read_record
from multitudes.training import optimizer_state
from multitudes.training.checkpoint import TrainingState
from multitudes.training.config import RunConfig, TrainConfig, with_neighbours_of
from multitudes.training.distributed import ITEM_TABLE, Ranks
from multitudes.training.trained_run import TrainedRun, named_weights

_TOPICS, _ACTIONS = "items.topic_embedding.weight", "user.action.weight"


def last_trained_time(run: TrainedRun) -> int:
    """Return the time of the last event that ``run`` was trained on, in seconds or positions."""
    config, data = run.config, run.prepared
    trained = eligible_targets(data, include_validation=config.final)
    offset = data.event_offset
    chunks = (trained.between(*offset[[users.start, users.stop]].tolist()) for users in user_chunks(offset))
    return max(
        (int(data.event_time[positions].max(initial=config.since)) for positions in chunks), default=config.since
    )


def warm_start_config(config: RunConfig, run: TrainedRun) -> RunConfig:
    """Return the settings of a run that continues ``run``: only on later events, and without validation.

    A run is validated on the events after its data, before another run continues it on them (progressive validation).
    The kinds of interests keep their shares.

    Raises:
        UsageError: method or model differ from those of ``run``.
    """
    if (config.method, config.model) != (run.config.method, run.config.model):
        raise UsageError(f"--continue {run.path}: continues with that run's method and [model]; give no others")
    shares, _, calibration = run.list_defaults
    given = {"final": True, "since": last_trained_time(run), "continues": str(run.path.resolve())}
    return config.model_copy(update={"shares": shares, "calibration": calibration} | given)


def continue_config(run: Path, seed: int, file: Path | None, overrides: Mapping[str, Any] = NO_OVERRIDES) -> RunConfig:
    """Return the configuration of a run that continues ``run``: its own, for one epoch, changed by [train].

    Raises:
        ArtefactError: ``run`` is no run, or is damaged.
        UsageError: a setting is wrong, or does not fit the weights of ``run``.
    """
    previous = TrainedRun.open(run)
    sections: tuple[tuple[str, type[Config]], ...] = (("model", UserTowerConfig), ("train", TrainConfig))
    given_model, given_train = (
        load_section(file, name, section, overrides).model_dump(exclude_unset=True) for name, section in sections
    )
    model = deep_merge(previous.config.model.model_dump(), given_model)
    train = deep_merge(previous.config.train.model_dump(), {"epochs": 1}, given_train)
    config = RunConfig(
        method=previous.config.method,
        seed=seed,
        model=parse(UserTowerConfig, model, f"{file}: [model]"),
        train=parse(TrainConfig, train, f"{file}: [train]"),
    )
    return with_neighbours_of(warm_start_config(config, previous), read_record(run))


def count_known_items(prepared: PreparedData, before: PreparedData) -> int:
    """Return how many items of ``prepared`` are also in ``before``.

    Raises:
        UsageError: there is none.
    """
    found = int((match_names(_item_ids(prepared), _item_ids(before))[1:] >= 0).sum())
    if not found:
        raise UsageError(
            f"{prepared.path}: has no item of {before.path}, which the run was trained on; give later data"
        )
    return found


def warm_start(state: TrainingState, prepared: PreparedData, config: RunConfig, ranks: Ranks) -> None:
    """Initialise ``state`` from the run ``config.continues``, in place.

    Raises:
        ArtefactError: the run does not exist any more, its features differ, or its optimiser state is damaged.
    """
    previous = TrainedRun.open(Path(config.continues))
    own = ranks.own_rows(state.model.items.id_embedding.num_embeddings)
    old_data, old_weights = previous.prepared, named_weights(previous.model)
    items = match_names(_item_ids(prepared), _item_ids(old_data))
    rows = {
        ITEM_TABLE: items[own],
        _TOPICS: match_names(prepared.topics, old_data.topics),
        _ACTIONS: match_names(["", *prepared.manifest["actions"]], ["", *old_data.manifest["actions"]]),
    }
    for name, weight in named_weights(state.model).items():
        if name in rows:
            optimizer_state.copy_matched_rows(weight, old_weights[name], rows[name])
        elif weight.shape == old_weights[name].shape:
            weight.copy_(old_weights[name])
        else:
            raise ArtefactError(f"{prepared.path}: other features than {previous.path} was trained on; train a new run")
    if config.model.item_tower == "frozen":
        now_ID, before_ID = item_embeddings(prepared), item_embeddings(old_data)
        if (now_ID[items >= 0] != before_ID[items[items >= 0]]).any():  # the user side has learned to search in the old
            raise ArtefactError(f"{prepared.path}: other embeddings of items than {previous.path} has; train a new run")
    train, before = config.train, previous.config.train
    init_frequency(state.frequency, prepared.item_count, train.in_batch)
    shapes = {name: weight.shape for name, weight in old_weights.items()}
    is_same_pool = (train.in_batch, train.batch_size) == (before.in_batch, before.batch_size)
    optimizer_state.restore_state(state, previous.path, rows, shapes, items if is_same_pool else None)


def match_names(names: list[str] | pl.Series, before: list[str] | pl.Series) -> NDArray[np.int64]:
    """Return the old position of each name, -1 if it is new; the first is the unknown, which stays the first."""
    old = _name_table(before).with_row_index("place", offset=1)
    found = _name_table(names).join(old, on="name", how="left", maintain_order="left")["place"]
    return np.concatenate([[0], found.cast(pl.Int64).fill_null(-1).to_numpy()])


def _name_table(names: list[str] | pl.Series) -> pl.DataFrame:
    """Return the names without the first, that of the unknown: a known name may equal it."""
    return pl.DataFrame({"name": names[1:]}, schema={"name": pl.String})


def init_frequency(frequency: StreamingFrequency, count_I: NDArray[np.int64], per_step: int) -> None:
    """Start as if each of the ``per_step`` draws of a step drew items in proportion to their training events."""
    share_I = count_I / max(int(count_I.sum()), 1)
    drawn_I = -np.expm1(per_step * np.log1p(-np.minimum(share_I, 1 - 1e-9)))
    frequency.interval[:] = 1 / np.maximum(drawn_I, 1 / np.maximum(frequency.interval.max(), 1e6))


def _item_ids(prepared: PreparedData) -> pl.Series:
    """Return the ids of the items by number, as strings; row 0 is the unknown item."""
    return pl.concat([pl.Series([""]), prepared.items["item_id"].cast(pl.String)])
