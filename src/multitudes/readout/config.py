"""How an experiment is read."""

from pydantic import Field

from multitudes.config import Config
from multitudes.readout.sequential import TIGHTEST_AT


class ReadoutConfig(Config):
    """How an experiment is read; each field is an option of ``multitudes readout``."""

    control: str | None = Field(None, description="The arm that others are compared with; default: 'control'.")
    metrics: tuple[str, ...] = Field((), description="NAME, or A/B for a ratio of sums; default: all that rows have.")
    planned: dict[str, float] = Field({}, description="Planned share of each arm, in any unit; default: equal.")
    covariates: tuple[str, ...] = Field((), description="Columns of the exposures, with numbers known before them.")
    cuped: bool = Field(True, description="The same metric before the exposure is a covariate.")
    winsorise: float | None = Field(
        None, gt=0.5, lt=1, description="Sums of a user above this quantile of all users are cut to it."
    )
    window_days: int | None = Field(None, ge=1, description="Count so many days since the exposure, alike for all.")
    tightest_at: int = Field(
        TIGHTEST_AT, ge=2, description="Users, both arms together, at which sequential intervals are tightest."
    )
    keep_negative: bool = Field(False, description="Values below zero count.")
    memory_limit: str = Field("1GB", description="Of the engine; more is spilled to the disk.")
    threads: int = Field(0, ge=0, description="0 takes every core.")
