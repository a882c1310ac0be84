"""An id in an address is the id, whatever it is made of."""

from urllib.parse import unquote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from multitudes.client import path_segment
from multitudes.service.errors import ApiError
from multitudes.service.id_types import parse_id
from multitudes.service.request_context import is_utf8
from tests.service.conftest import refusal

ids = st.integers(-(2**63), 2**63 - 1) | st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=512)


@given(ids)
@example("42")
@example('"')
@example("..")
@example("a/b?c#d%2F")
@example("\x00")
@example(-(2**63))
def test_what_an_address_names_is_what_was_put_into_it(user_id):
    found = parse_id(unquote(path_segment(user_id)))
    assert (type(found), found) == (type(user_id), user_id)
    assert path_segment(user_id).isascii()
    assert "/" not in path_segment(user_id)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("42", 42), ("-7", -7), ("0", 0), ('"42"', "42"), ("ann", "ann"), ("007", "007"), ("-0", "-0"), ("1e3", "1e3")],
)
def test_a_bare_text_is_a_text_and_a_whole_number_a_number(text, expected):
    found = parse_id(text)
    assert (type(found), found) == (type(expected), expected)


@pytest.mark.parametrize(
    "text", [str(2**63), str(-(2**63) - 1), "9" * 5000, '"', '"open', '"a"b', '""', "x" * 513, '"\\ud800"']
)
def test_what_is_no_id_is_refused(text):
    with pytest.raises(ApiError, match="id"):
        parse_id(text)


def test_an_address_that_is_no_utf8_would_name_somebody_else_and_is_refused(plain_call):
    assert is_utf8(b"/v1/users/%C3%A9")
    assert not is_utf8(b"/v1/users/%E9")
    assert refusal(plain_call("GET", "/v1/users/%E9"))[:2] == (400, "malformed")
    assert plain_call("GET", "/v1/users/%C3%A9").json()["user_id"] == "é"
