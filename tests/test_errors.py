"""A full disk is recognised in the words of each library that writes; /dev/full is a device that is always full."""

import errno
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from safetensors import SafetensorError

from multitudes.errors import MissingError, UsageError, explain, is_disk_full

FULL = Path("/dev/full")


def python():
    FULL.write_text("much")


def numpy():
    with FULL.open("wb", buffering=0) as file:
        np.zeros(1_000).tofile(file)


def parquet():
    with FULL.open("wb") as file:  # opened here: whatever the library does with a path, it is not done to the device
        pl.DataFrame({"a": range(1_000)}).write_parquet(file)


def safetensors():  # it would replace the device by a file, so its message is copied here
    raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")


@pytest.mark.parametrize("write", [python, numpy, parquet, safetensors])
def test_a_full_disk_is_recognised_for_every_writer(write):
    with pytest.raises(Exception) as caught:  # noqa: PT011 (each library has its own)
        write()
    assert is_disk_full(caught.value)


@pytest.mark.parametrize(
    "error", [FileNotFoundError(2, "No such file or directory"), ValueError("400 requested and 3 written"), OSError()]
)
def test_other_errors_are_not_taken_for_a_full_disk(error):
    assert not is_disk_full(error)


@pytest.mark.parametrize(
    ("number", "kind"), [(errno.EIO, MissingError), (errno.EMFILE, MissingError), (errno.ENOTDIR, UsageError)]
)
def test_what_the_system_says_of_a_path_is_one_line_with_what_to_do(number: int, kind: type):
    told = explain(OSError(number, "x", "/disk/file"))
    assert isinstance(told, kind)
    assert str(told).startswith("/disk/file: ")
    assert explain(OSError(errno.EPROTO, "x", "/disk/file")) is None, "a defect"
