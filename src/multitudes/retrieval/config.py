"""Settings of retrieval: how a list of candidates is divided among the interests and blended (``[retrieve]``)."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, NamedTuple

from pydantic import Field, ValidationInfo, field_validator

from multitudes.batches.user_vectors import HISTORY_LENGTHS, INTEREST_KINDS, HistoryLength, InterestKind, ListPart
from multitudes.config import Config

Blend = Literal["mixture", "round_robin", "global_top"]
Depth = Literal["full", "share"]
Importance = Literal["weight", "even"]


_MAX_ROUNDING = 1e-3  # shares are fitted in float32


class RetrieveConfig(Config):
    """Settings of retrieval. The implicit interests get the rest of the list."""

    blend: Blend = Field(
        "mixture",
        description="mixture: by the probability of an item over all interests; round_robin: the interests take turns,"
        " each up to its quota (the paper); global_top: the best scores of all lists. The default for a run of"
        " pinnersage is round_robin.",
    )
    unconditioned_share: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Share of the list for the unconditioned vector. None: as fitted in training.",
    )
    explicit_share: float | None = Field(
        None,
        ge=0,
        le=1,
        validate_default=True,
        description="Share of the list for followed topics. None: as fitted in training.",
    )
    shares_by_history: dict[HistoryLength, dict[ListPart, float]] = Field(
        {},
        description="Shares of the list by what is known of the user, each with the three kinds and popular: none: no"
        " usable event in the history; short: fewer than 10; long: 10 or more. Popular: places that popular items"
        " take in turn with what the vectors bring. Empty: as fitted in training, or the two shares above for everyone"
        " if one of them is set.",
    )
    importance: Importance = Field(
        "weight",
        description="How the implicit interests divide their share: weight: by the part of the history that each has"
        " (the paper); even: equally (ablation).",
    )
    topics_per_request: int = Field(5, ge=0, description="Followed topics drawn for a request.")
    relevance_filter: bool = Field(
        True, description="A followed topic brings only items of that topic (not used in training)."
    )
    exclude_seen: bool = Field(
        True, description="Items of the user's history are not returned; a request may say otherwise."
    )
    repeat_share: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Where seen items may be returned: the probability that the next item is one of the user's own."
        " None: as fitted on the validation split; 0: no source of repeats.",
    )
    depth: Depth = Field(
        "share",
        description="How many items are retrieved for each vector: share: about as many as its share of the list"
        " needs; full: as many as the list has, which costs more with many vectors and hardly changes the list.",
    )
    boost: float = Field(
        3.0, ge=1, description="Factor by which a request's boosts multiply a share of the list, of 0.05 at least."
    )
    seed: int = Field(0, description="Seed of the draw of followed topics, which depends on user and request alone.")

    @field_validator("explicit_share")
    @classmethod
    def _check_shares(cls, value: float | None, info: ValidationInfo) -> float | None:
        unconditioned = info.data.get("unconditioned_share") or 0.0
        if (value or 0.0) + unconditioned > 1:
            raise ValueError(f"with unconditioned_share = {unconditioned:g} the shares exceed 1")
        return value

    @field_validator("shares_by_history")
    @classmethod
    def _check_shares_by_history(
        cls, value: dict[HistoryLength, dict[ListPart, float]]
    ) -> dict[HistoryLength, dict[ListPart, float]]:
        for length, shares in value.items():
            if min(shares.values(), default=0.0) < 0 or abs(sum(shares.values()) - 1) > _MAX_ROUNDING:
                raise ValueError(f"{length} = {shares}: expected shares of at least 0 that sum to 1")
            if not any(shares.get(kind, 0.0) > 0 for kind in INTEREST_KINDS):
                raise ValueError(f"{length} = {shares}: expected a share for a kind of vectors beside popular items")
        return value


class Shares(NamedTuple):
    """The shares of the list of the three kinds of vectors; they sum to one."""

    unconditioned: float
    implicit: float
    explicit: float


DEFAULT_SHARES = Shares(0.5, 0.4, 0.1)  # where training fitted none


def resolve_shares(config: RetrieveConfig, fitted: Shares = DEFAULT_SHARES) -> Shares:
    """Return the shares of a configuration.

    Args:
        config: settings of retrieval, of which one share or both may be None.
        fitted: the shares that training fitted. A missing share keeps its fitted proportion to the implicit share,
            which gets all of the rest where training gave neither a place.

    Returns:
        The shares.
    """
    unconditioned, explicit = config.unconditioned_share, config.explicit_share
    if unconditioned is None and explicit is None:
        return fitted
    if unconditioned is None:
        assert explicit is not None
        proportion = fitted.unconditioned / max(fitted.unconditioned + fitted.implicit, 1e-12)
        unconditioned = (1 - explicit) * proportion
    elif explicit is None:
        explicit = (1 - unconditioned) * fitted.explicit / max(fitted.implicit + fitted.explicit, 1e-12)
    return Shares(unconditioned, max(0.0, 1 - unconditioned - explicit), explicit)


def resolve_shares_by_history(config: RetrieveConfig) -> dict[HistoryLength, Shares]:
    """Return the shares among the vectors of users of each length of the history."""
    for_all = resolve_shares(config)
    by_history = dict[HistoryLength, Shares]()
    for length, shares in config.shares_by_history.items():
        of_vectors = _shares_of_vectors(shares)
        by_history[length] = Shares(*(of_vectors.get(kind, 0.0) for kind in INTEREST_KINDS))
    return {length: by_history.get(length, for_all) for length in HISTORY_LENGTHS}


def without_popular(config: RetrieveConfig) -> RetrieveConfig:
    """Return ``config`` without turns of popular items: the kinds of vectors divide their share among them."""
    by_history = {length: _shares_of_vectors(shares) for length, shares in config.shares_by_history.items()}
    return config.model_copy(update={"shares_by_history": by_history})


def _shares_of_vectors(shares: Mapping[ListPart, float]) -> Mapping[ListPart, float]:
    """Return the shares of the kinds of vectors, which divide that of popular items among them."""
    if not shares.get("popular"):
        return shares
    of_vectors = {part: share for part, share in shares.items() if part != "popular"}
    total = sum(of_vectors.values())
    return {kind: share / total for kind, share in of_vectors.items()}


def with_shares(
    config: RetrieveConfig,
    shares: Shares,
    by_history: Mapping[HistoryLength, Mapping[ListPart, float]] = MappingProxyType({}),
) -> RetrieveConfig:
    """Return ``config`` with its missing shares set in proportion to ``shares``.

    Args:
        config: settings of retrieval.
        shares: of all users.
        by_history: shares by the length of the history, for settings that name no shares: one that a configuration sets
            holds for all users.
    """
    if not config.shares_by_history and config.unconditioned_share is None and config.explicit_share is None:
        copies = {length: dict(shares) for length, shares in by_history.items()}
        config = config.model_copy(update={"shares_by_history": copies})
    resolved = resolve_shares(config, shares)
    # Shares fitted in float32 may sum to a little more than one, which would be rejected when they are read again.
    explicit = min(resolved.explicit, 1 - resolved.unconditioned)
    return config.model_copy(update={"unconditioned_share": resolved.unconditioned, "explicit_share": explicit})


def with_blend(config: RetrieveConfig, blend: Blend) -> RetrieveConfig:
    """Return ``config`` with this blend, unless it sets one."""
    return config if "blend" in config.model_fields_set else config.model_copy(update={"blend": blend})


def with_run_defaults(
    config: RetrieveConfig,
    shares: Mapping[InterestKind, float],
    blend: Blend = "mixture",
    shares_by_history: Mapping[HistoryLength, Mapping[ListPart, float]] = MappingProxyType({}),
) -> RetrieveConfig:
    """Return ``config`` with its missing settings set for a run.

    Args:
        config: settings of retrieval.
        shares: as training fitted them; ``DEFAULT_SHARES`` if it fitted none.
        blend: the default blend of the run's method.
        shares_by_history: as training fitted them, by the length of the history.

    Returns:
        Settings without a missing share.
    """
    fitted = Shares(*(shares.get(kind, 0.0) for kind in INTEREST_KINDS)) if sum(shares.values()) > 0 else DEFAULT_SHARES
    return with_shares(with_blend(config, blend), fitted, shares_by_history)
