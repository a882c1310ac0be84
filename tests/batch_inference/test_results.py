"""Results for everybody are exported without loss, all of them or none."""

import json
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest

from multitudes.batch_inference.results import export_results
from multitudes.errors import ArtefactError, UsageError
from tests.batch_inference import results as made

FILM = {"item_id": 2**60 + 1, "score": 1.5, "rank": 1, "source": "implicit", "interest": 0, "interest_name": "Drama"}
FILM["found_by"] = [0, 2]
FILLED = {"item_id": 7, "score": 3.0, "rank": 2, "source": "popular", "interest": None, "interest_name": None}
FILLED["found_by"] = []
ANSWERS = [
    {"user_id": "ünal", "release": "0001", "degraded": True, "candidates": [FILM, FILLED]},
    {"user_id": "nobody", "release": "0001", "degraded": False, "candidates": []},
    {"user_id": "zoe", "release": "0001", "degraded": False, "candidates": [FILM]},
]


@pytest.fixture
def results(tmp_path: Path) -> Path:
    made.write(tmp_path / "results", [ANSWERS[:2], ANSWERS[2:]])
    return tmp_path / "results"


def test_answers_become_json_lines_or_flat_parquet_and_none_an_empty_file(results: Path, tmp_path: Path):
    assert export_results(results, tmp_path / "out.jsonl") == 3
    lines = (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == ANSWERS
    assert export_results(results, tmp_path / "out.parquet") == 3
    flat = pl.read_parquet(tmp_path / "out.parquet")
    assert flat["user_id"].to_list() == ["ünal", "ünal", "zoe"]
    assert flat["item_id"].to_list() == [2**60 + 1, 7, 2**60 + 1]
    assert flat["interest"].to_list() == [0, None, 0]
    assert flat["found_by"].to_list() == [[0, 2], [], [0, 2]]
    made.write(tmp_path / "none", [])
    assert export_results(tmp_path / "none", tmp_path / "none.jsonl") == 0
    made.write(tmp_path / "nobody", [ANSWERS[1:2]])
    assert export_results(tmp_path / "nobody", tmp_path / "flat.parquet") == 0
    assert pl.read_parquet(tmp_path / "flat.parquet").columns[:4] == ["user_id", "release", "degraded", "item_id"]


def test_what_is_cut_missing_changed_or_not_finished_is_refused_by_name_and_nothing_is_written(results, tmp_path):
    def refused(message: str) -> None:
        with pytest.raises(ArtefactError, match=message):
            export_results(results, tmp_path / "out.jsonl")
        assert not (tmp_path / "out.jsonl").exists()

    second = results / "part-00001.parquet"
    whole = second.read_bytes()
    second.write_bytes(whole[:-9])
    refused(r"part-00001.parquet: \d+ bytes; expected \d+")
    second.write_bytes(bytes([whole[0] ^ 1, *whole[1:]]))
    refused(r"part-00001.parquet: the checksum differs")
    second.unlink()
    refused(r"part-00001.parquet: missing; delete it and .*manifest.json, and run the command that wrote it again")
    second.write_bytes(whole)
    manifest = results / "manifest.json"
    said = manifest.read_text()
    manifest.write_text(said.replace('"version": 1', '"version": 9'))
    refused(r"manifest.json: multitudes-batch version 9; expected multitudes-batch version 1")
    manifest.write_text(said[:50])
    refused(r"manifest.json: damaged")
    manifest.unlink()
    refused("not finished; run the same command again to finish it")
    manifest.write_text(said)
    assert export_results(results, tmp_path / "out.jsonl") == 3


def test_wrong_folders_and_files_are_refused(results: Path, tmp_path: Path):
    with pytest.raises(UsageError, match=r"ends in .jsonl or .parquet"):
        export_results(results, tmp_path / "out.csv")
    with pytest.raises(ArtefactError, match=r"gone: no manifest.json"):
        export_results(tmp_path / "gone", tmp_path / "out.jsonl")
    assert export_results(results, tmp_path / "new" / "out.jsonl") == 3, "the control, into a folder that it makes"
    (tmp_path / "other").mkdir()
    with pytest.raises(ArtefactError, match="expected a folder written by"):
        export_results(tmp_path / "other", tmp_path / "out.jsonl")


def test_an_interruption_leaves_what_was_there_and_nothing_half_written(results, tmp_path, monkeypatch):
    out = tmp_path / "out.jsonl"
    export_results(results, out)
    before = out.read_bytes()

    def interrupted(rows: pl.LazyFrame, file: Path) -> None:
        file.write_text("half")
        raise KeyboardInterrupt

    monkeypatch.setattr(pl.LazyFrame, "sink_ndjson", interrupted)
    with pytest.raises(KeyboardInterrupt):
        export_results(results, out)
    assert out.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.jsonl", "results"]


def test_json_lines_have_explained_interests_without_their_vectors(tmp_path: Path):
    interest = {"interest": 0, "items": ["Alien"], "n_items": 1}
    answers = [{**ANSWERS[1], "interests": []}, {**ANSWERS[2], "interests": [interest]}]
    types = pa.struct([("interest", pa.int32()), ("items", pa.list_(pa.string())), ("n_items", pa.int32())])
    stored = [{**answers[0]}, {**answers[1], "interests": [{**interest, "vector": [0.5, 0.25]}]}]
    schema = made.SCHEMA.append(
        pa.field("interests", pa.list_(pa.struct([*types, ("vector", pa.list_(pa.float32()))])))
    )
    made.write(tmp_path / "results", [stored], schema)
    export_results(tmp_path / "results", tmp_path / "out.jsonl")
    assert [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()] == answers
