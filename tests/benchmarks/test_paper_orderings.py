"""The page of the paper's orderings says what the summaries hold, and no more."""

import copy
from typing import Any

import pytest
from benchmarks.paper_orderings import ORDERINGS, PAGE, Comparison, Ordering, compare, page, read_summaries, tally


def interval(mean: float, half: float) -> dict[str, Any]:
    return {"mean": mean, "low": mean - half, "high": mean + half}


def fake_summary(seeds: list[int], one_vector: dict[str, Any], conditional: dict[str, Any]) -> dict[str, Any]:
    """Return a summary of three methods and a control; the differences are those of HR@10 to DCM."""
    methods: dict[str, Any] = {"clustering": {}, "clustering/random_partition": {}}
    methods |= {"one_vector": {"hr": one_vector}, "conditional": {"hr": conditional}}
    data_set = {
        "budget": 10,
        "budgets": [10, 50],
        "users": 1_200,
        "methods": {method: {"seeds": seeds, "minus": minus} for method, minus in methods.items()},
        "controls": {"clustering": {"random_partition": interval(0.01, 0.02) | {"verdict": "level"}}},
        "curves": {
            "10": {"clustering": {"mean": 0.3}, "one_vector": {"mean": 0.2}},
            "50": {
                "clustering": {"mean": 0.6},
                "one_vector": {"mean": 0.48, "relative": {"mean": -0.2, "low": -0.36, "high": 0.25}},
                "conditional": {"mean": 0.3, "relative": {"mean": -0.5, "low": -0.6, "high": -0.36}},
            },
        },
    }
    return {"reference": "clustering", "data": {"shop": data_set}}


SHOP = fake_summary(
    [0],
    one_vector=interval(-0.1, 0.02) | {"verdict": "worse"},
    conditional=interval(-0.25, 0.05) | {"verdict": "worse"},
)
# The same with another seed: the interval excludes zero, but the difference is not shown after correction.
OTHER_SEED = fake_summary(
    [1, 2],
    one_vector=interval(-0.04, 0.03) | {"verdict": "level"},
    conditional=interval(-0.25, 0.05) | {"verdict": "level"},
)


def row(text: str, start: str) -> str:
    return next(line for line in text.splitlines() if line.startswith(f"| {start} |"))


def test_the_page_is_that_of_the_kept_summaries():
    assert PAGE.read_text(encoding="utf-8") == page(read_summaries())


def test_every_method_of_an_ordering_is_in_a_study():
    known = {m for summary in read_summaries().values() for one in summary["data"].values() for m in one["methods"]}
    assert {method for one in ORDERINGS for method in (one.first, one.second)} <= known


def test_a_cell_has_a_line_for_each_study_and_a_star_after_correction_only():
    text = page({"one": SHOP, "other": OTHER_SEED})
    assert row(text, "DCM > one vector") == (
        r"| DCM > one vector | 0: +.100 [.080, .120] \*<br>1, 2: +.040 [.010, .070] | on 1 of 1 sets, other way on 0 |"
    )


def test_a_control_of_the_same_model_keeps_its_sign():
    control = next(one for one in ORDERINGS if one.second == "clustering/random_partition")
    shop = copy.deepcopy(SHOP["data"]["shop"])
    found = compare(shop, "clustering", control, 10)
    assert found is not None
    assert found.difference == pytest.approx(interval(0.01, 0.02))
    assert not found.is_shown
    shop["controls"]["clustering"]["random_partition"]["verdict"] = "better"
    found = compare(shop, "clustering", control, 10)
    assert found is not None
    assert found.is_shown


def test_without_dcm_the_interval_is_the_bound_of_both_differences():
    found = compare(OTHER_SEED["data"]["shop"], "clustering", Ordering("", "conditional", "one_vector"), 10)
    assert found is not None
    assert found.is_bound
    assert found.is_shown  # the verdicts are on other differences
    assert found.difference == pytest.approx(interval(-0.21, 0.08))
    assert r"| 0: -.150 [-.220, -.080] † \* |" in row(page({"one": SHOP}), "CR > one vector")


def test_at_the_large_budget_a_cell_is_the_ratio_in_percent():
    shop = SHOP["data"]["shop"]
    direct = compare(shop, "clustering", Ordering("", "clustering", "one_vector"), 50)
    bound = compare(shop, "clustering", Ordering("", "conditional", "one_vector"), 50)
    assert direct is not None
    assert bound is not None
    assert direct.difference == pytest.approx({"mean": 25, "low": -20, "high": 56.25})
    assert not direct.is_shown
    assert bound.difference == pytest.approx({"mean": -37.5, "low": -68, "high": 0})
    assert (direct.is_bound, bound.is_bound) == (False, True)


def test_a_method_that_a_data_set_lacks_is_a_dash_and_is_not_counted():
    lacking = copy.deepcopy(SHOP)
    data_set = lacking["data"]["market"] = lacking["data"].pop("shop")
    for methods in (data_set["methods"], data_set["curves"]["50"]):
        del methods["conditional"]
    text = page({"one": SHOP, "other": lacking})
    assert row(text, "DCM > CR") == r"| DCM > CR | 0: +.250 [.200, .300] \* | – | on 1 of 1 sets, other way on 0 |"
    assert "DCM > MIND" not in text
    assert row(text, "clustering") == "| clustering | 0: .300 / .600 | 0: .300 / .600 |"


def test_seeds_are_of_both_methods():
    uneven = copy.deepcopy(SHOP)
    uneven["data"]["shop"]["methods"]["one_vector"]["seeds"] = [0, 1]
    assert "| 0 / 0, 1: +.100" in row(page({"one": uneven}), "DCM > one vector")


def compared(mean: float, *, shown: bool) -> Comparison:
    return Comparison("0", interval(mean, 0.1), is_bound=False, is_shown=shown)


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([(0.2, True), (0.1, False)], "on 1 of 1 sets, other way on 0"),
        ([(0.2, False), (0.1, False)], "on 0 of 1 sets, other way on 0"),  # nothing is shown
        ([(0.2, True), (-0.1, False)], "on 0 of 1 sets, other way on 0"),  # the seeds disagree
        ([(-0.2, True)], "on 0 of 1 sets, other way on 1"),
    ],
)
def test_an_ordering_returns_where_all_seeds_agree_and_one_shows_it(lines, expected):
    assert tally([[compared(mean, shown=shown) for mean, shown in lines], []]) == expected
