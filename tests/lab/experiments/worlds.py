"""A planted experiment: users with individual rates who arrive over several days, with outcomes before and after."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

DAY = 86_400
START = 1_767_225_600  # 2026-01-01 00:00 UTC
NOW = START + 365 * DAY


class World(NamedTuple):
    exposures: pl.DataFrame
    outcomes: pl.DataFrame

    def write(self, folder: Path, suffix: str = "parquet") -> tuple[Path, Path]:
        files = folder / f"exposures.{suffix}", folder / f"outcomes.{suffix}"
        for frame, file in zip(self, files, strict=True):
            frame.write_parquet(file) if suffix == "parquet" else frame.write_csv(file)
        return files


def plant(
    users: int = 2_000,
    lift: float = 0.0,
    days: int = 10,
    before: int = 10,
    seed: int = 0,
    cohort_lift: float | None = None,
) -> World:
    """Plant an experiment: saves and sessions of each day are Poisson with the user's rate.

    Args:
        users: half of them in each arm, who come on the first ``days / 2`` days.
        lift: of saves, in the treatment.
        days: from the first exposure to the end.
        before: days of outcomes before the start.
        seed: of all draws.
        cohort_lift: of saves in the treatment, for the cohort ``new``; None: as ``lift``.
    """
    draw = np.random.default_rng(seed)
    treated, new = draw.random(users) < 0.5, draw.random(users) < 0.3
    exposed = START + draw.integers(days // 2, size=users) * DAY + draw.integers(DAY, size=users)
    rate = draw.gamma(0.7, 1.0, size=users)
    gain = np.where(new & (cohort_lift is not None), cohort_lift or 0.0, lift)
    day = np.arange(-before, days)
    at = START + day * DAY + DAY // 2
    after = at[None, :] >= exposed[:, None]
    saves = draw.poisson(rate[:, None] * (1 + (gain * treated)[:, None] * after))
    sessions = draw.poisson(0.5 + rate[:, None] / 2 * np.ones(len(day)))
    rows = []
    for name, count in (("saves", saves), ("sessions", sessions)):
        who, when = np.nonzero(count)
        rows.append(pl.DataFrame({"user_id": who, "timestamp": at[when], "metric": name, "value": count[who, when]}))
    exposures = pl.DataFrame(
        {
            "user_id": np.arange(users),
            "arm": np.where(treated, "treatment", "control"),
            "timestamp": exposed,
            "cohort": np.where(new, "new", "core"),
            "rate": rate,
        }
    )
    return World(exposures, pl.concat(rows))
