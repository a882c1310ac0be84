"""Going on from a finished run with data that is newer: daily training that does not begin at nothing.

What the run before it knew of an item, a topic or an action is taken over by its name, whatever number it has now; what
is new begins as in any training. So it is with what the optimiser knew, where that run kept it
(``training/optimizer_state.py``). How often an item is among the negatives, which logQ needs, is what that run's steps
have shown; of what is new, and where nothing was kept, it is the item's share of the training events until steps have
shown it.
"""

from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from multitudes.batches.negatives import StreamingFrequency
from multitudes.batches.windows import eligible_targets, user_chunks
from multitudes.data.prepared import PreparedData
from multitudes.errors import ArtefactError, UsageError
from multitudes.training import optimizer_state
from multitudes.training.checkpoint import TrainingState
from multitudes.training.config import RunConfig
from multitudes.training.distributed import Ranks
from multitudes.training.sharded_embedding import ITEM_TABLE
from multitudes.training.trained_run import TrainedRun, named_weights

_TOPICS, _ACTIONS = "items.topic_embedding.weight", "user.action.weight"


def last_trained_time(run: TrainedRun) -> int:
    """Return the time of the last event that ``run`` was trained on, in seconds or positions."""
    settings, data = run.config.train, run.prepared
    trained = eligible_targets(data, first_time_only=settings.first_time_only, include_validation=settings.final)
    parts = (trained.between(*data.event_offset[[users.start, users.stop]].tolist()) for users in user_chunks(data))
    return max((int(data.event_time[part].max(initial=settings.since)) for part in parts), default=settings.since)


def warm_start_config(config: RunConfig, run: TrainedRun) -> RunConfig:
    """Return ``config`` as that of a run that goes on from ``run``: on later events alone, and without a validation.

    It is judged beforehand, by what comes after the data (progressive validation); kinds keep the shares they had.

    Raises:
        UsageError: the model is to be another.
    """
    if (config.method, config.model) != (run.config.method, run.config.model):
        raise UsageError(f"--continue {run.path}: goes on with that run's method and [model]; give no others")
    train = config.train.model_copy(update={"final": True, "since": last_trained_time(run)})
    return config.model_copy(update={"train": train, "shares": run.shares, "continues": str(run.path.resolve())})


def count_known_items(prepared: PreparedData, before: PreparedData) -> int:
    """Return how many items of ``prepared`` stand in ``before`` too.

    Raises:
        UsageError: none does.
    """
    found = int((match_names(_item_ids(prepared), _item_ids(before))[1:] >= 0).sum())
    if not found:
        raise UsageError(
            f"{prepared.path}: has no item of {before.path}, which the run was trained on; give later data"
        )
    return found


def warm_start(state: TrainingState, prepared: PreparedData, config: RunConfig, ranks: Ranks) -> None:
    """Take over, in place, what the run ``config.continues`` knew.

    Raises:
        ArtefactError: there is no such run any more, its features are others, or the state that it kept is damaged.
    """
    before = TrainedRun.open(Path(config.continues))
    own = ranks.own_rows(state.model.items.id_embedding.num_embeddings)
    old_data, found = before.prepared, named_weights(before.model)
    items = match_names(_item_ids(prepared), _item_ids(old_data))
    rows = {
        ITEM_TABLE: items[own],
        _TOPICS: match_names(prepared.topics, old_data.topics),
        _ACTIONS: match_names(["", *prepared.manifest["actions"]], ["", *old_data.manifest["actions"]]),
    }
    for name, weight in named_weights(state.model).items():
        if name in rows:
            optimizer_state.copy_matched_rows(weight, found[name], rows[name])
        elif weight.shape == found[name].shape:
            weight.copy_(found[name])
        else:
            raise ArtefactError(f"{prepared.path}: other features than {before.path} was trained on; train a new run")
    init_frequency(state.frequency, prepared.item_count, config.train.in_batch)
    shapes = {name: weight.shape for name, weight in found.items()}
    optimizer_state.restore_state(
        state,
        before.path,
        optimizer_state.RowMatches(rows, items),
        shapes,
        same_pool=_negative_sampling(config) == _negative_sampling(before.config),
    )


def _negative_sampling(config: RunConfig) -> tuple[int, int]:
    return config.train.in_batch, config.train.batch_size


def match_names(names: list[str] | pl.Series, before: list[str] | pl.Series) -> NDArray[np.int64]:
    """Return where each name stood before, -1 where it is new; the first is the unknown, which stays the first."""
    old = _name_table(before).with_row_index("place", offset=1)
    found = _name_table(names).join(old, on="name", how="left", maintain_order="left")["place"]
    return np.concatenate([[0], found.cast(pl.Int64).fill_null(-1).to_numpy()])


def _name_table(names: list[str] | pl.Series) -> pl.DataFrame:
    return pl.DataFrame({"name": names[1:]}, schema={"name": pl.String})  # a name may be empty, as the unknown's is


def init_frequency(frequency: StreamingFrequency, count_I: NDArray[np.int64], per_step: int) -> None:
    """Begin as if each of ``per_step`` draws of a step met items by their share of the training events."""
    share_I = count_I / max(int(count_I.sum()), 1)
    met_I = -np.expm1(per_step * np.log1p(-np.minimum(share_I, 1 - 1e-9)))
    frequency.interval[:] = 1 / np.maximum(met_I, 1 / np.maximum(frequency.interval.max(), 1e6))


def _item_ids(prepared: PreparedData) -> pl.Series:
    """Return the ids of the items by number, as text; row 0 is the unknown item."""
    return pl.concat([pl.Series([""]), prepared.items["item_id"].cast(pl.String)])
