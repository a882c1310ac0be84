"""Ids of both kinds have the numbers that a dictionary would give them, whatever is asked for."""

from collections.abc import Sequence

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from multitudes.ids import Id
from multitudes.release.id_mapping import IdMap

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
