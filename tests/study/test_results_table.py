"""The segments of the users of a study."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl

from multitudes.batches.held_out import held_out_users
from multitudes.evaluation.compare import outcomes_file
from multitudes.study import results_table
from multitudes.study.results_table import (
    FinishedCell,
    effective_topics,
    outcomes_table,
    segment_users,
    tercile_labels,
)
from tests.evaluation.worlds import prepared

TOPICS = [[1], [2], [3], [4], []]  # of items 1 to 5; item 5 has none


def world(folder, past, **more):
    return prepared(folder, past, future=[[4]] * len(past), topics=TOPICS, **more)


def test_topics_names_buckets_and_activity_of_users_are_counted(tmp_path):
    data = world(tmp_path, [[1, 1, 1], [1, 2], [1, 1, 1, 1, 1, 1, 1, 1, 1, 2], [5], [1, 2, 3]])
    one, two, hardly_two, none, three = effective_topics(data, held_out_users(data, "test"))
    assert (one, two, none, three) == (1, 2, 0, 3)
    assert 1 < hardly_two < 1.5
    day = 86_400
    times = [[0, 1, 100 * day], [*(n * day for n in range(95, 100)), 100 * day]]
    found = segment_users(world(tmp_path, [[1, 1], [1, 2, 1, 2, 5]], times=times), "test")
    assert found.rows() == [("100", "casual", "1-9", "1.0-1.0"), ("101", "core", "1-9", "2.0-2.0")]
    found = segment_users(world(tmp_path, [[1, 2]], ordered_only=True), "test")
    assert found["activity"].to_list() == [None]
    assert found["tastes"].to_list() == ["2.0-2.0"]


def test_tastes_part_the_users_into_thirds_of_their_own_data_set():
    expected = "8.0-9.0 1.0-2.0 1.0-2.0 3.0-7.0 8.0-9.0 3.0-7.0"
    assert tercile_labels(np.array([9.0, 1, 2, 3, 8, 7])) == expected.split()
    assert set(tercile_labels(np.array([1.0] * 7 + [4.0]))) == {"1.0-1.0", "4.0-4.0"}, "equal users stay together"
    assert tercile_labels(np.empty(0)) == []


def test_a_method_of_the_study_is_no_baseline_beside_itself(tmp_path, monkeypatch):
    monkeypatch.setattr(results_table, "PreparedData", SimpleNamespace(open=lambda _: None))
    users = pl.DataFrame({"user_id": ["1"], "activity": ["core"], "history": ["1-9"], "tastes": ["1.0-1.0"]})
    monkeypatch.setattr(results_table, "segment_users", lambda *_: users)

    def systems(*methods):
        """Return the systems of a study of some methods, with their seeds."""
        finished = []
        for method in methods:
            folder = tmp_path / method
            folder.mkdir(exist_ok=True)
            names = sorted({method, "ease", "linear"} | ({"averaged"} if method == "joint" else set()))
            frame = pl.DataFrame({"user_id": [1] * len(names), "method": names, "kind": "new", "budget": 5, "hits": 1})
            frame.write_parquet(outcomes_file(folder, "test"))
            run = SimpleNamespace(method=method, seed=3)
            cell: Any = SimpleNamespace(
                data="d", method=method, prepared="", run=run, folder=lambda cells, m=method: cells / m
            )
            finished.append(FinishedCell(cell, {}, None, 0))
        return sorted(outcomes_table(finished, tmp_path, "test").select("method", "seed").rows())

    assert systems("joint") == [("ease", -1), ("joint", 3), ("joint/averaged", 3), ("linear", -1)]
    assert systems("joint", "linear") == [("ease", -1), ("joint", 3), ("joint/averaged", 3), ("linear", 3)]
    assert systems("linear", "joint") == systems("joint", "linear")
