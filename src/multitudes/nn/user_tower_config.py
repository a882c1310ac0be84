"""Settings of the user tower, section [model]."""

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, create_model

from multitudes.config import Config
from multitudes.errors import UsageError
from multitudes.nn.crossing import CrossingConfig
from multitudes.nn.methods import METHODS, ImplicitName, settings_classes
from multitudes.nn.sequence_encoder import SequenceConfig

Similarity = Literal["dot", "cosine"]


class _TowerConfig(Config):
    """Settings that are not those of one method."""

    width: int = Field(64, ge=4, le=4096, description="D, width of every vector")
    item_tower: Literal["trained", "frozen"] = Field(
        "trained",
        description="frozen: an item's vector is its column `embedding`, `width` wide, and only the user side learns",
    )
    interests: int = Field(4, ge=1, le=64, description="K, implicit interests per user (the paper serves 7)")
    history: int = Field(50, ge=1, description="L, most recent events that the tower reads")
    dropout: float = Field(0.3, ge=0, lt=1, description="dropout on the history and in the hidden layers")
    similarity: Similarity = Field(
        "dot", description="dot: plain inner product; cosine: both sides of unit length, over .07"
    )
    unconditioned: bool = Field(
        True, description="keep the unconditioned vector beside the interests; single, transformer and joint always do"
    )
    reads: Literal["interest", "history"] = Field(
        "interest",
        description="what an implicit interest reads: its own events only, or the entire history (the paper)",
    )
    implicit: ImplicitName = Field(
        "clustering", description="joint: the method that finds the implicit interests; random_partition is the control"
    )
    sequence: SequenceConfig = Field(SequenceConfig(), description="encoder of the history")
    crossing: CrossingConfig = Field(CrossingConfig(), description="feature crossing")
    neighbours: bool = Field(
        False, description="own events propose their neighbours beside the vectors; joint and transformer: true"
    )


def _method_fields() -> dict[str, Any]:
    """Return a field [model.NAME] for each method with settings, from the registry."""
    fields = {}
    for name, settings in settings_classes().items():
        if name in _TowerConfig.model_fields:
            raise UsageError(f"{settings.__module__}: a method '{name}' hides the setting [model] {name}; rename it")
        spec = METHODS[name]
        paper = f" ({spec.paper})" if spec.paper else ""
        fields[name] = (settings, Field(settings(), description=f"implicit interests: {spec.interests}{paper}"))
    return fields


if TYPE_CHECKING:
    _MethodConfigs = _TowerConfig
else:
    _MethodConfigs = create_model("_MethodConfigs", __base__=_TowerConfig, **_method_fields())


class UserTowerConfig(_MethodConfigs):
    """Settings of the user tower; each method with settings has a table in it."""
