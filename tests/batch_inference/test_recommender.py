"""Who is answered with many others gets what they would get alone."""

from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

from multitudes.batch_inference import recommender as room
from multitudes.batch_inference.recommender import BatchConfig, BatchRecommender
from multitudes.errors import DataError
from multitudes.retrieval.item_updates import add_items, remove_items
from multitudes.retrieval.retriever import Retriever

N = 5


def records(answer) -> dict[str, Any]:
    record: dict[str, Any] = answer.to_dict()
    for candidate in record["candidates"]:
        del candidate["title"]
        candidate["found_by"] = list(candidate["found_by"])
    return record


def test_users_of_the_release_described_people_and_strangers_are_answered_in_their_order(shared_releases, monkeypatch):
    monkeypatch.setattr(room, "_USERS_PER_CHUNK", 4)
    users: dict[str, Any] = {
        "user_id": ["eve", "new", "zed", "ann", "fan", "bob"],
        "history": [None, [101, 102], None, None, None, None],
        "followed_topics": [None, ["Crime", "Opera"], None, None, ["Drama"], None],
    }
    batch = pa.RecordBatch.from_pydict(users)
    got = BatchRecommender(shared_releases, BatchConfig(n=N)).recommend(batch).to_pylist()
    alone = Retriever.open(shared_releases)
    wanted = []
    for user, history, follows in zip(users["user_id"], users["history"], users["followed_topics"], strict=True):
        if history is None and follows is None:
            answer = alone.recommend(user, n=N)
        else:
            answer = alone.recommend(history=history or [], followed_topics=follows or [], n=N)
        wanted.append(records(answer) | {"user_id": user})
    assert got == wanted
    assert [one["degraded"] for one in got] == [True, False, True, False, False, False]
    assert got[3]["candidates"] != got[5]["candidates"], "the control: users differ"


def test_the_vectors_are_those_behind_the_list(shared_releases):
    answerer = BatchRecommender(shared_releases, BatchConfig(n=N, vectors=True))
    rows = answerer.recommend(pa.table({"user_id": ["ann", "zed"]})).to_pylist()
    interests = rows[0]["interests"]
    assert [one["kind"] for one in interests] == ["unconditioned", "implicit", "explicit"]
    assert [one["name"] for one in interests] == ["whole history", "Drama", "Crime"]
    assert sum(one["share"] for one in interests) == pytest.approx(1)
    assert interests[2]["vector"] == [0, 5]
    assert rows[1]["interests"] == []
    assert "interests" not in BatchRecommender(shared_releases, BatchConfig(n=N)).schema.names


def test_explained_users_get_the_reasons_and_interests_that_they_would_get_alone(shared_releases, tmp_path):
    users = ["ann", "eve", "zed", "bob"]
    answers = BatchRecommender(shared_releases, BatchConfig(n=N, explain=True)).recommend(pa.table({"user_id": users}))
    rows, alone = answers.to_pylist(), Retriever.open(shared_releases)
    for user, row in zip(users, rows, strict=True):
        answer = alone.recommend(user, n=N).to_dict(explain=True)
        assert [(one["item_id"], one["because"]) for one in row["candidates"]] == [
            (one["item_id"], [own["item_id"] for own in one["because"]]) for one in answer["candidates"]
        ]
        for one in answer["interests"]:
            one |= {"interest": one.pop("number"), "items": list(one["items"]), "share": pytest.approx(one["share"])}
            del one["age_days"]
        assert row["interests"] == answer["interests"]
    assert {tuple(one["because"]) for one in rows[0]["candidates"]} == {(111,), (101, 102)}
    assert not any(one["because"] for row in rows[1:3] for one in row["candidates"]), "popular items"


def test_items_that_come_and_go_are_seen(releases: Path, tmp_path: Path):
    new = pl.DataFrame({"item_id": [201], "topics": [["Drama"]], "title": ["New"], "embedding": [[9.0, 0.0]]})
    new.write_parquet(tmp_path / "new.parquet")
    add_items(releases, tmp_path / "new.parquet")
    pl.DataFrame({"item_id": [105]}).write_parquet(tmp_path / "gone.parquet")
    remove_items(releases, tmp_path / "gone.parquet")
    got = BatchRecommender(releases, BatchConfig(n=20)).recommend(pa.table({"user_id": ["ann"]})).to_pylist()
    items = [one["item_id"] for one in got[0]["candidates"]]
    assert 201 in items
    assert 105 not in items


def test_users_that_do_not_fit_are_refused_in_a_line(shared_releases):
    answerer = BatchRecommender(shared_releases, BatchConfig(n=N))
    for table, message in (
        ({"user": ["ann"]}, "columns user; expected at least user_id"),
        ({"user_id": [1]}, "user_id is int64; this release has string"),
        ({"user_id": [1.0]}, "user_id is double; this release has string"),
        ({"user_id": [None, "ann"]}, "1 users have no user_id"),
        ({"user_id": ["ann"], "history": [["x"]]}, "do not fit this release"),
    ):
        with pytest.raises(DataError, match=message):
            answerer.recommend(pa.table(table))
    assert len(answerer.recommend(pa.table({"user_id": pa.array([], pa.string())}))) == 0
