"""Settings of a training run: their defaults, from a file, or from a finished run that is fitted again."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from multitudes.batches.examples import ConditionSource
from multitudes.batches.user_vectors import InterestKind
from multitudes.config import NO_OVERRIDES, Config, deep_merge, load_section, parse
from multitudes.errors import UsageError
from multitudes.linear.neighbours import NeighbourFit
from multitudes.nn.methods import DEFAULT_METHOD, METHODS, Method, MethodSpec
from multitudes.nn.user_tower_config import UserTowerConfig
from multitudes.run_record import read_record


class TrainConfig(Config):
    """Settings of the training loop, section [train]."""

    epochs: int = Field(20, ge=1, description="maximum number of epochs; early stopping usually ends before")
    epoch_batches: int = Field(200, ge=0, description="maximum number of batches between two validations; 0: all data")
    patience: int = Field(3, ge=1, description="epochs without a better validation hit rate before training stops")
    batch_size: int = Field(128, ge=1, description="histories per step; each has up to `window` targets")
    window: int = Field(10, ge=1, le=100, description="W, positives after one cut of a history; 1: next item only")
    dense: bool = Field(
        True, description="the unconditioned vector predicts each target from the moment before it, not from the cut"
    )
    condition: ConditionSource = Field(
        "auto",
        description="which topic explains an example: source (logged), item, match (item and followed topics), auto",
    )
    association: Literal["argmax", "gumbel", "mixture"] = Field(
        "mixture",
        description="which implicit interest explains an example: the nearest (the paper), a drawn one, or all",
    )
    explicit_weight: float = Field(0.1, ge=0, description="weight of the explicit interests' loss; the others have 1")
    in_batch: int = Field(512, ge=0, description="negatives drawn from the positives of the batch")
    uniform: int = Field(512, ge=0, description="negatives drawn uniformly from the vocabulary")
    item_init: Literal["svd", "random"] = Field(
        "svd", description="initial item embeddings: singular vectors of the training interactions, or random numbers"
    )
    learning_rate: float = Field(0.001, gt=0, le=1e30, description="Adam's step size")
    validate_users: int = Field(
        1000, ge=1, description="users, drawn once by the seed, on which each epoch is validated"
    )
    eval_k: int = Field(100, ge=1, description="k of the hit rate (HR@k) by which the best epoch is chosen")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: a GPU if there is one")

    @field_validator("uniform")
    @classmethod
    def _pool_is_not_empty(cls, value: int, info: ValidationInfo) -> int:
        if value == 0 and info.data.get("in_batch") == 0:
            raise ValueError("with in_batch = 0 there would be no negatives, and nothing to learn")
        return value


class RunConfig(Config):
    """All settings of a run; together with the prepared data they determine its weights.

    Settings of the user tower that are not given take the defaults of the method, if it has its own.
    """

    method: Method = DEFAULT_METHOD
    seed: int = 0
    model: UserTowerConfig = UserTowerConfig()
    train: TrainConfig = TrainConfig()
    final: bool = Field(
        False, description="trained on validation events too, for all epochs: `multitudes train --refit`"
    )
    since: int = Field(
        0, ge=0, description="only targets later than this time, in seconds or positions: `multitudes train --continue`"
    )
    shares: dict[InterestKind, float] = Field(
        {}, description="final: share of the budget of each kind of interest, from the run before"
    )
    calibration: float | None = Field(
        None, ge=0, le=1, description="final: part of the list divided among tastes, from the run before"
    )
    neighbour_fit: NeighbourFit | None = Field(
        None, description="final: settings of the neighbours, from the run before; none: chosen on validation"
    )
    continues: str = Field("", description="warm start: folder of the run whose weights training begins with")

    @model_validator(mode="before")
    @classmethod
    def _apply_method_defaults(cls, values: object) -> object:
        """Merge the given settings into the defaults of the method."""
        if not isinstance(values, dict):
            return values
        spec = METHODS.get(values.get("method", DEFAULT_METHOD), MethodSpec(""))
        merged = dict(values)
        for section, defaults in (("model", spec.defaults), ("train", spec.train_defaults)):
            given = values.get(section, {})
            if defaults and isinstance(given, (dict, Config)):
                given = given.model_dump(exclude_unset=True) if isinstance(given, Config) else given
                merged[section] = deep_merge(defaults, given)
        return merged

    def changed_defaults(self) -> list[str]:
        """Return the settings by which the run differs from the defaults of its own method, as text."""
        spec = METHODS[self.method]
        return [
            f"[{section}] {key} = {value}"
            for section, defaults in (("model", spec.defaults), ("train", spec.train_defaults))
            for key, value in _differences(getattr(self, section), defaults)
        ]


def _differences(config: Config, expected: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Return the settings that differ from ``expected``, by dotted key, with their values."""
    found: list[tuple[str, Any]] = []
    for key, value in expected.items():
        own = getattr(config, key)
        if isinstance(own, Config):
            found += _differences(own, value, f"{prefix}{key}.")
        elif own != value:
            found.append((f"{prefix}{key}", own))
    return found


def load_run_config(
    method: str, seed: int, file: Path | None, overrides: Mapping[str, Any] = NO_OVERRIDES
) -> RunConfig:
    """Return the configuration of a new run: that of the file, if there is one, changed by the overrides.

    Raises:
        UsageError: the file is missing or holds a wrong setting.
    """
    model = load_section(file, "model", UserTowerConfig, overrides)
    train = load_section(file, "train", TrainConfig, overrides)
    return parse(RunConfig, {"method": method, "seed": seed, "model": model, "train": train}, "options")


def refit_config(run: Path, seed: int) -> RunConfig:
    """Return the configuration of a final fit on training and validation events: that of ``run``, for its best epochs.

    Raises:
        ArtefactError: ``run`` is no run.
        UsageError: its training is not finished, or its method is not trained.
    """
    record = read_record(run)
    settings = record["config"]
    if not record["finished"] or "train" not in settings:
        raise UsageError(f"--refit {run}: expected a run whose training is finished")
    train = settings["train"] | {"epochs": record["best_epoch"]}
    chosen = {"shares": record["shares"], "calibration": record["calibration"]}
    config = parse(RunConfig, settings | {"seed": seed, "train": train, "final": True} | chosen, f"{run}/run.json")
    return with_neighbours_of(config, record)


def with_neighbours_of(config: RunConfig, record: Mapping[str, Any]) -> RunConfig:
    """Return the settings with the neighbours that the run of ``record`` chose, or without if it chose none."""
    found = record.get("neighbours")
    if found is None:
        return config.model_copy(update={"model": config.model.model_copy(update={"neighbours": False})})
    return config.model_copy(update={"neighbour_fit": NeighbourFit.of(found)})
