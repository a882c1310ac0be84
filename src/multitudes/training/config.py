"""Settings of a training run."""

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from multitudes.batches.examples import ConditionSource
from multitudes.batches.user_vectors import InterestKind
from multitudes.config import Config, deep_merge
from multitudes.nn.methods import DEFAULT_METHOD, METHODS, Method
from multitudes.nn.user_tower_config import UserTowerConfig


class TrainConfig(Config):
    """Settings of the training loop, section [train]."""

    renamed: ClassVar[Mapping[str, str]] = {
        "forget_share": "history_dropout",
        "validate_at": "eval_k",
        "single_weight": "unconditioned_weight",
    }

    epochs: int = Field(20, ge=1, description="most epochs; early stopping usually ends before")
    epoch_batches: int = Field(200, ge=0, description="most batches between two validations; 0: always the whole data")
    patience: int = Field(4, ge=1, description="epochs without a better validation hit rate before training stops")
    batch_size: int = Field(128, ge=1, description="histories per step; each has up to `window` targets")
    window: int = Field(10, ge=1, le=100, description="W, positives that follow one history cut; 1: next item only")
    dense: bool = Field(
        True, description="the unconditioned vector foresees each target from the moment before it, not from the cut"
    )
    ahead: int = Field(1, ge=1, description="dense: a target is foreseen from up to this many events before it")
    first_time_only: bool = Field(True, description="train on first engagements of a user with an item only")
    history_dropout: float = Field(
        0.05, ge=0, le=1, description="examples whose history is hidden: new users, known by their follows alone"
    )
    condition: ConditionSource = Field(
        "auto", description="which topic explains an example: source (logged), item, match (item and follows), auto"
    )
    association: Literal["argmax", "gumbel", "mixture"] = Field(
        "mixture", description="which implicit interest explains an example: the nearest (the paper), drawn, all"
    )
    gumbel_temperature: float = Field(0.5, gt=0, description="gumbel: temperature of the draw")
    hard_negatives: float = Field(
        0.0, ge=0, description="REMI's beta: how much more a negative near to an interest weighs; 0: all alike"
    )
    routing_regulariser: float = Field(
        0.0, ge=0, description="REMI: weight of the variance of an interest's attention over events; 0: off"
    )
    unconditioned_weight: float = Field(1.0, ge=0, description="weight of the unconditioned vector's loss")
    implicit_weight: float = Field(1.0, ge=0, description="weight of the implicit interests' loss")
    explicit_weight: float = Field(0.1, ge=0, description="weight of the explicit interests' loss")
    in_batch: int = Field(512, ge=0, description="negatives drawn from the batch's own positives")
    uniform: int = Field(512, ge=0, description="negatives drawn evenly from the vocabulary")
    learning_rate: float = Field(0.001, gt=0, le=1e30, description="Adam's step size")
    weight_decay: float = Field(0.0, ge=0, le=1000, description="AdamW's decay of dense weights; embeddings have none")
    final: bool = Field(
        False, description="train on validation too, for all epochs: a last fit, see `multitudes train --refit`"
    )
    since: int = Field(
        0, ge=0, description="targets are later than this time only, seconds; see `multitudes train --continue`"
    )
    validate_users: int = Field(1000, ge=1, description="users, drawn once by the seed, on which an epoch is judged")
    eval_k: int = Field(100, ge=1, description="N of the hit rate by which the best epoch is chosen")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: a GPU where there is one")

    @field_validator("uniform")
    @classmethod
    def _pool_is_not_empty(cls, value: int, info: ValidationInfo) -> int:
        if value == 0 and info.data.get("in_batch") == 0:
            raise ValueError("with in_batch = 0 there would be no negatives, and nothing to learn")
        return value


class RunConfig(Config):
    """Everything that decides a run, together with the prepared data."""

    method: Method = DEFAULT_METHOD
    seed: int = 0
    model: UserTowerConfig = UserTowerConfig()
    train: TrainConfig = TrainConfig()
    shares: dict[InterestKind, float] = Field(
        {}, description="final: what each kind of vector earned in the run before it"
    )
    continues: str = Field("", description="folder of the run whose weights training begins with; none: its own")

    @model_validator(mode="before")
    @classmethod
    def _apply_method_defaults(cls, values: object) -> object:
        """Lay what was set over the defaults of the method."""
        if not isinstance(values, dict):
            return values
        spec = METHODS.get(values.get("method", DEFAULT_METHOD))
        if spec is None or not spec.defaults:
            return values
        model = values.get("model", {})
        own = model.model_dump(exclude_unset=True) if isinstance(model, UserTowerConfig) else model
        return values | {"model": deep_merge(spec.defaults, own)}
