"""The tables of an earlier cut end before the first event that the study held out, and hold out others."""

import sys

import numpy as np
import polars as pl

from benchmarks import earlier_cut
from multitudes.data.prepare import PrepareConfig, prepare
from multitudes.data.prepared import TRAIN
from tests.worlds import planted


def test_the_events_before_the_first_held_out_one_are_kept(tmp_path, monkeypatch, capsys):
    data = planted()[1]
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "world").symlink_to(data.path)
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "world").symlink_to(data.path.parent / "data")
    monkeypatch.setattr(sys, "argv", ["earlier_cut", *(str(tmp_path / name) for name in ("", "tables", "out"))])
    earlier_cut.main()
    kept = pl.read_parquet(tmp_path / "out" / "world" / "events.parquet")
    assert len(kept) == np.count_nonzero(data.event_split == TRAIN)
    assert f"world: {len(kept):,} of " in capsys.readouterr().out
    again = prepare(tmp_path / "out" / "world", tmp_path / "again", PrepareConfig(split="user"))
    assert 0 < np.count_nonzero(again.event_split != TRAIN) < len(kept)
