"""Errors of the engine about memory, disk and Ctrl-C become one line and an exit code."""

import duckdb
import pytest

from multitudes.data.duck import open_engine
from multitudes.errors import DataError, MissingError, UsageError


def raise_within(folder, error):
    with open_engine(folder, "100MB", 1) as engine, engine.translate_read_errors(folder / "events.csv"):
        raise error


def test_too_little_memory_a_full_disk_and_an_interruption_are_said(tmp_path):
    with (
        pytest.raises(MissingError, match="memory_limit = '1MB' is too little"),
        open_engine(tmp_path, "1MB", 1) as engine,
    ):
        engine.execute("CREATE TABLE big AS SELECT range AS n, range::VARCHAR AS t FROM range(3000000) ORDER BY t")
    with pytest.raises(MissingError, match="no space left"):
        raise_within(tmp_path, duckdb.IOException("Could not write: No space left on device"))
    with pytest.raises(DataError, match=r"events\.csv: cannot be read: not a table; write or copy the file again$"):
        raise_within(tmp_path, duckdb.IOException("not a table.\nsome advice"))
    with pytest.raises(KeyboardInterrupt):
        raise_within(tmp_path, RuntimeError("Query interrupted"))
    with pytest.raises(RuntimeError, match="else"):
        raise_within(tmp_path, RuntimeError("something else"))


def test_a_disk_too_full_to_spill_to_is_missing_space_and_not_memory(tmp_path):
    with (
        pytest.raises(MissingError, match="no space left on the disk; free some"),
        open_engine(tmp_path, "20MB", 1) as engine,
    ):
        # The limit is what the engine makes of a disk that has so much free.
        engine.execute("SET max_temp_directory_size = '2MB'").execute(
            "CREATE TABLE big AS SELECT range AS n, range::VARCHAR AS t FROM range(3000000) ORDER BY t"
        )


@pytest.mark.parametrize("limit", ["a lot", "-4GB"])
def test_a_setting_that_the_engine_refuses_is_a_wrong_configuration(tmp_path, limit):
    with pytest.raises(UsageError, match=f"memory_limit = '{limit}'"), open_engine(tmp_path, limit, 1):
        pass
