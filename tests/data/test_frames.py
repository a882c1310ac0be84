"""Tables in memory are prepared as those of a folder are."""

import polars as pl
import pyarrow as pa
import pytest

from multitudes import PrepareConfig, prepare
from multitudes.errors import DataError, UsageError
from tests.data.tables import NOW, events, items, users, write

CONFIG = PrepareConfig(split="leave_one_out", threads=1)


def arrays(folder):
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.name != "manifest.json"}


@pytest.mark.parametrize("convert", [lambda frame: frame, pl.DataFrame.lazy, pl.DataFrame.to_arrow])
def test_frames_give_the_bytes_of_files(tmp_path, convert):
    prepare(write(tmp_path / "data"), tmp_path / "expected", CONFIG, now=NOW)
    frames = {"events": convert(events()), "items": convert(items()), "users": convert(users())}
    made = prepare(**frames, out=tmp_path / "made", config=CONFIG, now=NOW)
    assert arrays(tmp_path / "made") == arrays(tmp_path / "expected")
    assert made.manifest["inputs"]["events.parquet"]["rows"] == 6


def test_pandas_frames_are_taken_without_their_index(tmp_path):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(events().to_dict(as_series=False), index=list("abcdef"))
    prepare(events=frame, out=tmp_path / "made", config=CONFIG, now=NOW)
    prepare(events=events(), out=tmp_path / "expected", config=CONFIG, now=NOW)
    assert arrays(tmp_path / "made") == arrays(tmp_path / "expected")


def test_frames_are_taken_without_their_index_under_other_names_and_nothing_else_is(tmp_path):
    frame = pa.table(events().rename({"user_id": "userId"}))
    prepare(events=frame, out=tmp_path / "made", config=CONFIG, columns={"userId": "user_id"}, now=NOW)
    with pytest.raises(DataError, match=r"^events: column 'user_id' is missing; .* columns={'userId': 'user_id'}$"):
        prepare(events=frame, out=tmp_path / "again", config=CONFIG, now=NOW)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["made"]
    with pytest.raises(UsageError, match="events: expected a table of pandas, Polars or Arrow, got list"):
        prepare(events=[1, 2], out=tmp_path / "out")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "call", [{}, {"out": "x"}, {"data": "x", "events": events(), "out": "y"}, {"items": items(), "out": "y"}]
)
def test_tables_and_output_are_needed(call):
    with pytest.raises(UsageError, match="prepare\\(events=frame"):
        prepare(**call)
