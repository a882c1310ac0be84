"""Every row that a process appends is in the segments once, exactly as given."""

from concurrent.futures import ThreadPoolExecutor

import pyarrow.parquet as pq
import pytest

from multitudes.api import Candidate
from multitudes.errors import ArtefactError
from multitudes.logs.config import LogConfig
from multitudes.logs.logs import Log
from multitudes.logs.schemas import IdTypes, ServedResponse
from tests.logs.worlds import NOW, TEXT, answer, event, logs, rows, spools


def test_responses_and_events_are_rows_of_their_tables(tmp_path):
    written = logs(tmp_path)
    assert written.log_served(answer())
    written.close()
    columns = ("request_id", "user_id", "timestamp", "release", "degraded", "item_id", "rank", "score")
    whole = rows(tmp_path / "served")
    assert whole.select(*columns).rows() == [
        ("r1", "ann", NOW, "v1", False, 1, 1, 1.5),
        ("r1", "ann", NOW, "v1", False, 2, 2, 1.25),
        ("r1", "ann", NOW, "v1", False, 3, 3, 1.0),
    ]
    assert whole.select("source", "interest", "interest_name", "condition").rows() == [
        ("implicit", 0, "Sci-Fi", None),
        ("explicit", 7, "Drama", "Drama"),
        ("popular", None, None, None),
    ]
    written = logs(tmp_path)
    assert written.log_events([event(1), event(2, user="bob", item=5)])
    assert written.log_events([])
    written.close()
    assert rows(tmp_path / "events").rows(named=True)[1] == {
        "event_id": "e2", "user_id": "bob", "item_id": 5, "timestamp": NOW, "action": "save", "request_id": None
    }  # fmt: skip


def test_the_record_of_a_response_is_made_from_its_candidates():
    candidates = [
        Candidate(11, None, 0.5, 1, "implicit", 2, "Sci-Fi", (2,)),
        Candidate(12, None, 0.4, 2, "explicit", 8, "Drama", (8,)),
        Candidate(13, None, 0.3, 3, "implicit", 2, "Sci-Fi", (2,)),
    ]
    record = ServedResponse.from_candidates(candidates, request_id="r", user_id=None, time_s=NOW, release="v1")
    assert record.origin_N == [0, 1, 0]
    assert [origin.condition for origin in record.origins] == [None, "Drama"]


def test_ids_are_logged_exactly(tmp_path):
    largest = 2**63 - 1
    written = logs(tmp_path, IdTypes("int64", "string"))
    odd = "".join(map(chr, range(300))) + ' "\\\u2028🙂'
    written.log_served(answer(user=-largest - 1, items=("007", "7", odd)))
    written.log_served(answer(user=None, items=(odd,)))
    written.close()
    found = rows(tmp_path / "served")
    assert found["user_id"].to_list() == [-largest - 1] * 3 + [None]
    assert found["item_id"].to_list() == ["007", "7", odd, odd]


@pytest.mark.parametrize(
    "bad",
    [
        answer(user=77_001),
        answer(items=(1, "2")),
        answer(items=(True,)),
        answer(items=(2**63,)),
        answer(user="\ud800"),
        answer()._replace(scores=(1.0, float("nan"), 1.0)),
        answer()._replace(scores=(1.0, float("inf"), 1.0)),
    ],
)
def test_a_response_that_cannot_be_logged_is_counted_and_does_no_harm(tmp_path, caplog, bad):
    written = logs(tmp_path)
    assert written.log_served(answer())
    assert not written.log_served(bad)
    assert written.log_served(answer(items=())._replace(origins=())), "no candidates, no rows"
    assert written.log_served(answer())
    written.close()
    assert rows(tmp_path / "served").height == 6
    counts = {name: n for name, n in written.counts()["served"].items() if n}
    assert counts == {"appended": 6, "lost": len(bad.item_ids), "segments": 1}
    assert caplog.text.count("rows are lost") == 1
    assert "77001" not in caplog.text, "the report names no user"


def test_a_large_or_old_spool_becomes_a_segment(tmp_path):
    written = logs(tmp_path, segment_mb=0.002, segment_s=60, keep_days=0)
    for number in range(100):
        written.log_events([event(number)])
    assert len(spools(tmp_path / "events")) > 3  # a large spool is closed at once
    written.maintain(NOW)
    assert len(spools(tmp_path / "events")) <= 1
    written.maintain(NOW + 10**9)
    assert spools(tmp_path / "events") == []
    assert rows(tmp_path / "events")["event_id"].to_list() == [f"e{number}" for number in range(100)]


def test_a_folder_belongs_to_one_log_and_one_type_of_ids(tmp_path):
    logs(tmp_path).close()
    with pytest.raises(ArtefactError, match="holds the log"):
        logs(tmp_path, IdTypes("int64", "int64"))
    with pytest.raises(ArtefactError, match="holds the log"):
        Log(tmp_path / "served", "events", TEXT, LogConfig())
    (tmp_path / "served" / "log.json").write_text("{")
    with pytest.raises(ArtefactError, match="damaged; choose another folder"):
        logs(tmp_path)


def test_threads_share_a_log(tmp_path):
    written = logs(tmp_path, segment_mb=0.01)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: written.log_events([event(number)]), range(400)))
        written.maintain(NOW)
    written.close()
    assert sorted(rows(tmp_path / "events")["event_id"]) == sorted(f"e{number}" for number in range(400))


def test_a_long_spool_is_rotated_in_chunks_with_every_row_once(tmp_path, monkeypatch):
    monkeypatch.setattr("multitudes.logs.rotation._CHUNK_BYTES", 1_000)
    written = logs(tmp_path)
    for number in range(200):
        assert written.log_events([event(number)])
    written.close()
    (part,) = (tmp_path / "events").glob("*.parquet")
    assert pq.ParquetFile(part).num_row_groups > 5
    assert rows(tmp_path / "events")["event_id"].to_list() == [f"e{number}" for number in range(200)]
