"""How a list of candidates is divided among the interests and put together: section ``[retrieve]``."""

from typing import Literal

from pydantic import Field, ValidationInfo, field_validator

from multitudes.config import Config

Blend = Literal["mixture", "round_robin", "global_top"]


class RetrieveConfig(Config):
    """Settings of retrieval. What is left of the list after the two shares belongs to the implicit interests."""

    blend: Blend = Field(
        "mixture",
        description="mixture: by the probability of an item over all interests; round_robin: turn by turn, each"
        " interest up to its quota (the paper); global_top: the best scores of all lists.",
    )
    unconditioned_share: float = Field(
        0.5,
        ge=0,
        le=1,
        description="Share of the list that the vector of the whole history brings, where there is one.",
    )
    explicit_share: float = Field(
        0.25, ge=0, le=1, validate_default=True, description="Share of the list that followed topics bring."
    )
    topics_per_request: int = Field(5, ge=0, description="Followed topics drawn for one request.")
    relevance_filter: bool = Field(
        True, description="A followed topic brings only items of that topic (not used in training)."
    )
    seed: int = Field(0, description="Of the draw of followed topics, which is replayable by user and request.")

    @field_validator("explicit_share")
    @classmethod
    def _shares_fit(cls, value: float, info: ValidationInfo) -> float:
        unconditioned = info.data.get("unconditioned_share", 0.0)
        if value + unconditioned > 1:
            raise ValueError(f"with unconditioned_share = {unconditioned:g} the shares exceed 1")
        return value
