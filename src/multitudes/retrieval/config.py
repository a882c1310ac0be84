"""Settings of retrieval: how a list of candidates is divided among the interests and blended (``[retrieve]``)."""

from typing import Annotated, Final, NamedTuple

from pydantic import Field, ValidationInfo, field_validator

from multitudes.batches.user_vectors import INTEREST_KINDS
from multitudes.config import Config
from multitudes.retrieval.blend import BLENDS
from multitudes.run_record import ListDefaults

Blend = Annotated[str, BLENDS]
DEFAULT_CALIBRATION: Final = 0.4  # where training chose none


class RetrieveConfig(Config):
    """Settings of retrieval. The implicit interests get the rest of the list."""

    blend: Blend = Field(
        "fusion",
        description="How the lists of the vectors become one. fusion: reciprocal rank fusion, weighted by the shares;"
        " round_robin: the interests take turns, each up to its quota (the paper); global_top: the best scores of all"
        " lists. The default for a run of pinnersage or paper is round_robin.",
    )
    calibration: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Part of the list that is divided among the tastes of the user's history, each in proportion to how"
        " often it occurs there; the rest goes to the best candidates of any taste. 0: none; 1: all of it. None: as"
        " chosen in training.",
    )
    unconditioned_share: float | None = Field(
        None, ge=0, le=1, description="Share of the list for the unconditioned vector. None: as chosen in training."
    )
    explicit_share: float | None = Field(
        None,
        ge=0,
        le=1,
        validate_default=True,
        description="Share of the list for followed topics. None: as chosen in training.",
    )
    topics_per_request: int = Field(5, ge=0, description="Followed topics drawn for a request.")
    relevance_filter: bool = Field(
        True, description="A followed topic brings only items of that topic (not used in training)."
    )
    exclude_seen: bool = Field(
        True, description="Items of the user's history are not returned; a request may say otherwise."
    )

    @field_validator("explicit_share")
    @classmethod
    def _check_shares(cls, value: float | None, info: ValidationInfo) -> float | None:
        unconditioned = info.data.get("unconditioned_share") or 0.0
        if (value or 0.0) + unconditioned > 1:
            raise ValueError(f"with unconditioned_share = {unconditioned:g} the shares exceed 1")
        return value


class Shares(NamedTuple):
    """The shares of the list of the three kinds of vectors; they sum to one."""

    unconditioned: float
    implicit: float
    explicit: float


DEFAULT_SHARES = Shares(0.5, 0.4, 0.1)  # where training chose none


def resolve_shares(config: RetrieveConfig, fitted: Shares = DEFAULT_SHARES) -> Shares:
    """Return the shares of a configuration, of which one or both may be None: as training chose them.

    A missing share keeps its proportion to the implicit share, which gets all of the rest where training gave neither a
    place.
    """
    unconditioned, explicit = config.unconditioned_share, config.explicit_share
    if unconditioned is None:
        if explicit is None:
            return fitted
        proportion = fitted.unconditioned / max(fitted.unconditioned + fitted.implicit, 1e-12)
        unconditioned = (1 - explicit) * proportion
    elif explicit is None:
        explicit = (1 - unconditioned) * fitted.explicit / max(fitted.implicit + fitted.explicit, 1e-12)
    return Shares(unconditioned, max(0.0, 1 - unconditioned - explicit), explicit)


def with_shares(config: RetrieveConfig, shares: Shares) -> RetrieveConfig:
    """Return ``config`` with its missing shares set in proportion to ``shares``."""
    resolved = resolve_shares(config, shares)
    # Shares fitted in float32 may sum to a little more than one, which would be rejected when they are read again.
    explicit = min(resolved.explicit, 1 - resolved.unconditioned)
    return config.model_copy(update={"unconditioned_share": resolved.unconditioned, "explicit_share": explicit})


def with_defaults(config: RetrieveConfig, published: RetrieveConfig) -> RetrieveConfig:
    """Return ``config`` with what it leaves open set as in the settings that a release was published with."""
    blend = config.blend if "blend" in config.model_fields_set else published.blend
    calibration = published.calibration if config.calibration is None else config.calibration
    config = config.model_copy(update={"blend": blend, "calibration": calibration})
    return with_shares(config, resolve_shares(published))


def with_run_defaults(config: RetrieveConfig, run: ListDefaults) -> RetrieveConfig:
    """Return ``config`` with its missing settings as training chose them, and with the blend of the run's method.

    Where training chose none: ``DEFAULT_SHARES``, and ``DEFAULT_CALIBRATION`` for fusion or none for other blends.
    """
    shares, blend, calibration = run
    chosen = Shares(*(shares.get(kind, 0.0) for kind in INTEREST_KINDS)) if sum(shares.values()) > 0 else DEFAULT_SHARES
    if calibration is None:
        named = config.blend if "blend" in config.model_fields_set else blend
        calibration = DEFAULT_CALIBRATION if named == "fusion" else 0.0
    defaults = RetrieveConfig(blend=blend, calibration=calibration)
    return with_defaults(config, with_shares(defaults, chosen))
