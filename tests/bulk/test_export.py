"""Results for everybody are written whole or not at all, and exported without loss."""

import json
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest

from multitudes.errors import ArtefactError, UsageError
from multitudes.retrieve.recommendation import Candidate, Recommendation
from multitudes.retrieve.results import export_results, write_results
from multitudes.retrieve.shortfall import Shortfall


def answers() -> list[Recommendation]:
    candidates = (
        Candidate(2**60 + 1, "A", 1.5, 1, "implicit", 0, "Drama", (0, 2)),
        Candidate(7, None, 3.0, 2, "popular", None, None, ()),
    )
    return [
        Recommendation("ünal", "0001", candidates, (), (Shortfall("few", "filled"),)),
        Recommendation("nobody", "0001", (), ()),
        Recommendation("zoe", "0001", candidates[:1], ()),
    ]


@pytest.fixture
def results(tmp_path: Path) -> Path:
    file = tmp_path / "results.parquet"
    written = write_results(answers(), file, pa.string(), pa.int64())
    assert written == (3, 3, 1)
    return file


def test_json_lines_are_the_answers_as_json(results: Path, tmp_path: Path):
    assert export_results(results, tmp_path / "out.jsonl") == 3
    lines = (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()
    expected = [json.loads(json.dumps(answer.to_dict())) for answer in answers()]
    assert [json.loads(line) for line in lines] == expected


def test_flat_parquet_has_one_candidate_a_row(results: Path, tmp_path: Path):
    assert export_results(results, tmp_path / "out.parquet") == 3
    flat = pl.read_parquet(tmp_path / "out.parquet")
    assert flat["user_id"].to_list() == ["ünal", "ünal", "zoe"]
    assert flat["item_id"].to_list() == [2**60 + 1, 7, 2**60 + 1]
    assert flat["interest"].to_list() == [0, None, 0]
    assert flat["found_by"].to_list() == [[0, 2], [], [0, 2]]


def test_no_answers_give_an_empty_file_not_a_broken_one(tmp_path: Path):
    assert write_results([], tmp_path / "none.parquet", pa.int64(), pa.string()).users == 0
    assert export_results(tmp_path / "none.parquet", tmp_path / "none.jsonl") == 0
    assert export_results(tmp_path / "none.parquet", tmp_path / "flat.parquet") == 0
    assert pl.read_parquet(tmp_path / "flat.parquet").columns[:4] == ["user_id", "release", "degraded", "item_id"]


def test_an_interruption_leaves_what_was_there_and_nothing_half_written(results: Path, tmp_path: Path):
    before = results.read_bytes()

    def interrupted():
        yield answers()[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_results(interrupted(), results, pa.string(), pa.int64())
    assert results.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["results.parquet"]


def test_wrong_files_are_refused(results: Path, tmp_path: Path):
    with pytest.raises(UsageError, match=r"ends in .jsonl or .parquet"):
        export_results(results, tmp_path / "out.csv")
    with pytest.raises(ArtefactError, match=r"gone.parquet: missing"):
        export_results(tmp_path / "gone.parquet", tmp_path / "out.jsonl")
    (tmp_path / "text.parquet").write_text("no parquet")
    with pytest.raises(ArtefactError, match=r"text.parquet: not a Parquet file"):
        export_results(tmp_path / "text.parquet", tmp_path / "out.jsonl")
    pl.DataFrame({"a": [1]}).write_parquet(tmp_path / "other.parquet")
    with pytest.raises(ArtefactError, match="not written by multitudes recommend"):
        export_results(tmp_path / "other.parquet", tmp_path / "out.jsonl")
    with pytest.raises(UsageError, match="does not exist; make it first"):
        write_results([], tmp_path / "no" / "results.parquet", pa.int64(), pa.int64())
