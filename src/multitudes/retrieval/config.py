"""How a list of candidates is divided among the interests and put together: section ``[retrieve]``."""

from collections.abc import Mapping
from typing import Literal, NamedTuple

from pydantic import Field, ValidationInfo, field_validator

from multitudes.batches.user_vectors import INTEREST_KINDS, InterestKind
from multitudes.config import Config

Blend = Literal["mixture", "round_robin", "global_top"]
Depth = Literal["full", "share"]
Importance = Literal["weight", "even"]


class RetrieveConfig(Config):
    """Settings of retrieval. What is left of the list after the two shares belongs to the implicit interests."""

    blend: Blend = Field(
        "mixture",
        description="mixture: by the probability of an item over all interests; round_robin: turn by turn, each"
        " interest up to its quota (the paper); global_top: the best scores of all lists. Unset, a run of pinnersage is"
        " served by round_robin.",
    )
    unconditioned_share: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Share of the list that the vector of the whole history brings. None: as training fitted it.",
    )
    explicit_share: float | None = Field(
        None,
        ge=0,
        le=1,
        validate_default=True,
        description="Share of the list that followed topics bring. None: as training fitted it.",
    )
    importance: Importance = Field(
        "weight",
        description="How the implicit interests divide their part: weight: by what each has of the history (the paper);"
        " even: alike (ablation).",
    )
    topics_per_request: int = Field(5, ge=0, description="Followed topics drawn for one request.")
    relevance_filter: bool = Field(
        True, description="A followed topic brings only items of that topic (not used in training)."
    )
    depth: Depth = Field(
        "share",
        description="How deep each vector is searched: share: about as deep as its share of the list needs; full: for"
        " as many items as the list has, which costs more with many vectors and hardly changes the list.",
    )
    boost: float = Field(3.0, ge=1, description="What a request boosts gets so many times the share of the list.")
    seed: int = Field(0, description="Of the draw of followed topics, which is replayable by user and request.")

    @field_validator("explicit_share")
    @classmethod
    def _check_shares(cls, value: float | None, info: ValidationInfo) -> float | None:
        unconditioned = info.data.get("unconditioned_share") or 0.0
        if (value or 0.0) + unconditioned > 1:
            raise ValueError(f"with unconditioned_share = {unconditioned:g} the shares exceed 1")
        return value


class Shares(NamedTuple):
    """The division of the list among the kinds of vectors; sums to one."""

    unconditioned: float
    implicit: float
    explicit: float


DEFAULT_SHARES = Shares(0.5, 0.4, 0.1)  # where nothing was fitted, as for vectors that training did not make


def resolve_shares(config: RetrieveConfig, fitted: Shares = DEFAULT_SHARES) -> Shares:
    """Return the shares that ``config`` asks for; what it leaves open is as fitted, in proportion."""
    unconditioned, explicit = config.unconditioned_share, config.explicit_share
    if unconditioned is None and explicit is None:
        return fitted
    if unconditioned is None:
        assert explicit is not None
        rest = fitted.unconditioned / max(fitted.unconditioned + fitted.implicit, 1e-12)
        unconditioned = (1 - explicit) * rest
    elif explicit is None:
        explicit = (1 - unconditioned) * fitted.explicit / max(fitted.implicit + fitted.explicit, 1e-12)
    return Shares(unconditioned, max(0.0, 1 - unconditioned - explicit), explicit)


def with_shares(config: RetrieveConfig, shares: Shares) -> RetrieveConfig:
    """Return ``config`` with the shares that it leaves open set in proportion to ``shares``."""
    whole = resolve_shares(config, shares)
    # Shares that training fitted in float32 sum to a little more than one at times, and would be refused when read.
    explicit = min(whole.explicit, 1 - whole.unconditioned)
    return config.model_copy(update={"unconditioned_share": whole.unconditioned, "explicit_share": explicit})


def with_blend(config: RetrieveConfig, blend: Blend) -> RetrieveConfig:
    """Return ``config`` with this blend, unless it says which."""
    return config if "blend" in config.model_fields_set else config.model_copy(update={"blend": blend})


def with_run_defaults(
    config: RetrieveConfig, shares: Mapping[InterestKind, float], blend: Blend = "mixture"
) -> RetrieveConfig:
    """Return ``config`` with what it leaves open set for a run: its shares as fitted, the blend that suits it."""
    known = sum(shares.values()) > 0
    config = with_blend(config, blend)
    return with_shares(config, Shares(*(shares.get(kind, 0.0) for kind in INTEREST_KINDS)) if known else DEFAULT_SHARES)
