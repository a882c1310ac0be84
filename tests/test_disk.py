"""What says that a disk is full, in the words of each library that writes; a real one: /dev/full takes nothing.

And a file that takes another's place is on the disk before it does.
"""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from safetensors import SafetensorError

from multitudes.atomic import fsync_tree, is_disk_full, move_into_place, write_json
from tests.flushing import Flushing

FULL = Path("/dev/full")


def python():
    FULL.write_text("much")


def numpy():
    with FULL.open("wb", buffering=0) as file:
        np.zeros(1_000).tofile(file)


def parquet():
    with FULL.open("wb") as file:  # opened here: whatever the library does with a path, it is not done to the device
        pl.DataFrame({"a": range(1_000)}).write_parquet(file)


def safetensors():  # which puts a file in the place of the device, so that its words are given
    raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")


@pytest.mark.parametrize("write", [python, numpy, parquet, safetensors])
def test_a_full_disk_is_known_whoever_writes(write):
    with pytest.raises(Exception) as caught:  # noqa: PT011 (each library has its own)
        write()
    assert is_disk_full(caught.value)


@pytest.mark.parametrize(
    "error", [FileNotFoundError(2, "No such file or directory"), ValueError("400 requested and 3 written"), OSError()]
)
def test_other_errors_are_not_taken_for_it(error):
    assert not is_disk_full(error)


def test_a_file_is_flushed_before_it_takes_its_place_and_its_folder_afterwards(tmp_path, monkeypatch):
    flushing, file = Flushing(monkeypatch), tmp_path / "file.json"
    write_json(file, {"a": 1})
    assert flushing.missing(file) == []
    partial = tmp_path / "partial"
    partial.write_text("more")
    move_into_place(partial, file)
    assert (flushing.missing(file), file.read_text()) == ([], "more")
    partial.write_text("careless")
    partial.replace(file)
    assert flushing.missing(file) == ["partial", f"{tmp_path.name}/ afterwards"], "the control"


def test_a_folder_is_flushed_with_all_that_is_in_it(tmp_path, monkeypatch):
    flushing, folder = Flushing(monkeypatch), tmp_path / "draft"
    (folder / "deep").mkdir(parents=True)
    for name in ("a", "deep/b"):
        (folder / name).write_text(name)
    fsync_tree(folder)
    folder.rename(tmp_path / "place")
    assert flushing.missing(tmp_path / "place") == [f"{tmp_path.name}/ afterwards"], "its name is its parent's to keep"
