"""Settings of the user tower, section [model]."""

from typing import Literal

from pydantic import Field, ValidationInfo, field_validator

from multitudes.config import Config
from multitudes.nn.crossing import CrossingConfig
from multitudes.nn.interests.clustering import ClusteringConfig
from multitudes.nn.interests.conditional import ConditionalConfig
from multitudes.nn.interests.dynamic_routing import DynamicRoutingConfig
from multitudes.nn.interests.routing import RoutingConfig
from multitudes.nn.interests.self_attention import SelfAttentionConfig
from multitudes.nn.interests.subsequence import SubsequenceConfig
from multitudes.nn.interests.tokens import TokensConfig
from multitudes.nn.sequence_encoder import SequenceConfig

Similarity = Literal["dot", "cosine"]
ImplicitName = Literal[
    "clustering", "routing", "dynamic_routing", "self_attention", "tokens", "subsequence", "random_partition"
]


class UserTowerConfig(Config):
    """Settings of the user tower."""

    width: int = Field(64, ge=4, le=4096, description="D, width of every vector")
    interests: int = Field(4, ge=1, le=64, description="K, implicit interests per user (the paper serves 7)")
    history: int = Field(50, ge=1, description="L, most recent events that the tower reads")
    dropout: float = Field(0.3, ge=0, lt=1, description="dropout on the history and in the hidden layers")
    similarity: Similarity = Field("dot", description="dot: plain inner product; cosine: both sides of unit length")
    temperature: float = Field(0.07, gt=0, description="cosine: divides the similarity")
    unconditioned: bool = Field(
        True, description="clustering, conditional: keep the unconditioned vector beside the interests"
    )
    reads: Literal["interest", "history"] = Field(
        "interest", description="what an implicit interest reads: its own events only, or the whole history (the paper)"
    )
    cluster_on: Literal["items", "sequence"] = Field(
        "items", description="what is clustered: item vectors (the paper), or the sequence encoder's output"
    )
    implicit: ImplicitName = Field(
        "clustering", description="joint: what finds the implicit interests; random_partition is the control"
    )
    validity: bool = Field(
        True, description="usable events alone make implicit interests; off: hides and the like do too (ablation)"
    )
    isolate: bool = Field(
        False, description="interests learn on top of the unconditioned tower and leave it as it is without them"
    )
    clustering: ClusteringConfig = Field(ClusteringConfig(), description="implicit interests by clustering (DCM)")
    conditional: ConditionalConfig = Field(ConditionalConfig(), description="explicit interests (CR)")
    routing: RoutingConfig = Field(RoutingConfig(), description="implicit interests by routing (MIND)")
    dynamic_routing: DynamicRoutingConfig = Field(
        DynamicRoutingConfig(), description="implicit interests by routing with a map each (ComiRec-DR)"
    )
    self_attention: SelfAttentionConfig = Field(
        SelfAttentionConfig(), description="implicit interests by self-attention (ComiRec-SA)"
    )
    tokens: TokensConfig = Field(TokensConfig(), description="implicit interests by learned query tokens")
    subsequence: SubsequenceConfig = Field(
        SubsequenceConfig(), description="implicit interests as subsequences of shared concepts (PFS)"
    )
    sequence: SequenceConfig = Field(SequenceConfig(), description="encoder of the history")
    crossing: CrossingConfig = Field(CrossingConfig(), description="feature crossing")

    @field_validator("sequence")
    @classmethod
    def _sequence_heads_fit(cls, value: SequenceConfig, info: ValidationInfo) -> SequenceConfig:
        _check_heads(value.heads if value.blocks else 1, info)
        return value

    @field_validator("crossing")
    @classmethod
    def _crossing_heads_fit(cls, value: CrossingConfig, info: ValidationInfo) -> CrossingConfig:
        _check_heads(value.heads if value.kind == "dhen" else 1, info)
        return value


def _check_heads(heads: int, info: ValidationInfo) -> None:
    width = info.data.get("width", 0)
    if width % heads:
        raise ValueError(f"heads = {heads} must divide width = {width}")
