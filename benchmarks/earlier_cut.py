"""``python -m benchmarks.earlier_cut STUDY TABLES OUT``: tables of a study, as they were before its held-out events.

STUDY is the folder of a study, whose ``data/NAME`` are prepared; TABLES has the tables ``NAME`` of each. Each user's
events from the first held-out one on are left out, so a study of OUT holds out events on which nothing was ever chosen
or measured: a fresh test split, for methods that were chosen on the later one.
"""

import shutil
import sys
from pathlib import Path

import numpy as np
import polars as pl

from multitudes.data.prepared import TRAIN, PreparedData


def main() -> None:
    """Write the tables of each data set of the study."""
    study, tables, out = map(Path, sys.argv[1:])
    for folder in sorted(path for path in (study / "data").iterdir() if path.is_dir()):
        cut = first_held_out(PreparedData.open(folder))
        events = pl.read_parquet(tables / folder.name / "events.parquet")
        kept = events.join(cut, on="user_id", how="left", maintain_order="left").filter(
            pl.col("end").is_null() | (pl.col("timestamp") < pl.col("end"))
        )
        shutil.copytree(tables / folder.name, out / folder.name)
        kept.drop("end").write_parquet(out / folder.name / "events.parquet")
        print(f"{folder.name}: {len(kept):,} of {len(events):,} events")


def first_held_out(prepared: PreparedData) -> pl.DataFrame:
    """Return the time of the first held-out event of each user who has one: columns user_id and end."""
    user_E = np.repeat(np.arange(prepared.n_users), np.diff(prepared.event_offset))
    held_E = np.flatnonzero(prepared.event_split != TRAIN)
    users, first = np.unique(user_E[held_E], return_index=True)  # events are sorted by user, then time
    ids = pl.read_parquet(prepared.path / "users.parquet")
    return ids[users].with_columns(end=pl.Series(prepared.event_time[held_E[first]]))


if __name__ == "__main__":
    main()
