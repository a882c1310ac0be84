"""Ids of both kinds have the numbers that a dictionary would give them, whatever is asked for."""

import os
import re
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from multitudes.ids import Id
from multitudes.release.id_mapping import IdMap, read_names, write_names

INTEGERS = st.integers(-(2**63), 2**63 - 1)
ANY = st.lists(st.one_of(INTEGERS, st.integers(), st.text()), max_size=8)


@pytest.mark.parametrize("ids", [st.lists(INTEGERS, unique=True), st.lists(st.text(), unique=True)])
@given(data=st.data(), others=ANY)
def test_numbers_are_those_of_a_dictionary(ids: st.SearchStrategy[list[Id]], data: st.DataObject, others: list[Id]):
    known = data.draw(ids)
    wanted = [*others, *known[::-1], *others]
    dtype = pl.String if any(isinstance(one, str) for one in known) else pl.Int64
    number = {one: n for n, one in enumerate(known, start=1)}
    found = IdMap(pl.Series(known, dtype=dtype)).numbers(wanted)
    assert found.tolist() == [number.get(one, 0) for one in wanted]


@pytest.mark.parametrize("wanted", [[2**63], [np.int64(7)], ["7"], ["\ud800"], [None]])
@pytest.mark.parametrize("ids", [[5, 7], ["5", "7"]])
def test_what_is_no_id_of_the_kind_is_not_known(ids: list[Id], wanted: Sequence[Id]):
    expected = [1 + ids.index(wanted[0]) if wanted[0] in ids else 0]
    assert IdMap(pl.Series(ids)).numbers(wanted).tolist() == expected


def test_columns_of_several_pieces_are_searched_as_one():
    ids = pl.concat([pl.Series([30, 10]), pl.Series([20])], rechunk=False)
    assert IdMap(ids).numbers([10, 20, 30, 40]).tolist() == [2, 3, 1, 0]


def mapped_kib(file: Path) -> dict[str, int]:
    """Return the kB of the mappings of a file in this process; of none if it is not mapped."""
    found, is_it = Counter[str](), False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
            is_it = line.endswith(str(file))
        elif is_it and line.endswith(" kB"):
            found[line.partition(":")[0]] += int(line.split()[1])
    return found


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="needs Linux")
@pytest.mark.parametrize("ids", [list(range(50_000)), [f"a longer id {number:09}" for number in range(50_000)]])
def test_names_stay_in_their_file_and_a_control_without_pyarrow_copies_them(
    ids: list[Id], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    pytest.importorskip("pyarrow")
    names = pl.DataFrame({"item_id": ids, "title": [f"the title of {one}" for one in ids]})
    file, control = tmp_path / "items.arrow", tmp_path / "control.arrow"
    write_names(file, names)
    write_names(control, names)
    with file.open("rb") as written:
        os.fsync(written.fileno())  # until the kernel has written a page of a file, it is dirty in every mapping
    mapped = read_names(file)
    assert mapped.equals(names)
    assert IdMap(mapped["item_id"]).numbers(ids[::7]).tolist() == list(range(1, len(ids) + 1, 7))
    kib = mapped_kib(file)
    assert kib["Rss"] > 1_000
    assert (kib["Private_Dirty"], kib["Anonymous"]) == (0, 0), "another process has the same pages"
    monkeypatch.setitem(sys.modules, "pyarrow", None)  # as if it were not installed
    copied = read_names(control)
    assert copied.equals(names)
    assert mapped_kib(control)["Rss"] == 0
