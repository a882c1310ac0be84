"""Measured values are used as they are; values between and beyond are marked as interpolated or extrapolated."""

import json

import pytest

from multitudes.errors import UsageError
from multitudes_lab.capacity.unit_costs import Curve, load_unit_costs


def curve(*points: tuple[float, float]) -> Curve:
    return Curve(unit="s", by="items", source="a test", points=points)


def test_a_power_law_leads_between_the_points_and_beyond_them_and_one_point_grows_in_proportion():
    square = curve((10, 100), (100, 10_000))
    assert square.at(100) == (10_000, "measured")
    assert square.at(50).value == pytest.approx(2_500)
    assert square.at(1_000).value == pytest.approx(1_000_000)
    assert [square.at(size).basis for size in (50, 1_000)] == ["interpolated", "extrapolated"]
    assert square.at(1) == (100, "extrapolated"), "what is smaller is not taken for cheaper"
    bent = curve((10, 10), (100, 100), (1_000, 10_000))
    assert bent.at(10_000).value == pytest.approx(1_000_000), "the last two points say how it goes on"
    assert bent.at(20).value == pytest.approx(20)
    assert curve((10, 5)).at(20) == (10, "extrapolated")
    assert curve((10, 5)).at(10) == (5, "measured")


@pytest.mark.parametrize(
    "points", [[], [[2, 1], [1, 2]], [[1, 1], [1, 2]], [[0, 1]], [[1, -1]], [[1, float("nan")]], [[1, float("inf")]]]
)
def test_wrong_points_are_rejected(points):
    with pytest.raises(ValueError, match="points"):
        Curve(unit="s", by="items", source="a test", points=points)


def test_a_file_replaces_the_unit_costs_of_the_package_and_a_wrong_one_is_rejected_in_a_line(tmp_path):
    shipped, file = load_unit_costs(None), tmp_path / "mine.json"
    record = shipped.model_dump(mode="json")
    file.write_text(json.dumps(record | {"machine": "mine"}))
    assert load_unit_costs(file).machine == "mine" != shipped.machine
    for text, message in (
        ("{", "not a JSON file"),
        ("[]", "expected one JSON object"),
        (json.dumps({**record, "wdith": 3}), "unknown key 'wdith'; did you mean 'width'"),
        (json.dumps({key: value for key, value in record.items() if key != "state_kib"}), "'state_kib' is missing$"),
    ):
        file.write_text(text)
        with pytest.raises(UsageError, match=message) as error:
            load_unit_costs(file)
        assert "\n" not in str(error.value)
    with pytest.raises(UsageError, match=r"none.json: no such file; write one with"):
        load_unit_costs(tmp_path / "none.json")
