"""Two records are compared field by field."""

import pytest

from benchmarks import equivalence

RECORD = {"run/run.json": {"learning_rate": 0.2, "seed": 0}, "run/weights": "ab12", "http 1": {"ids": [1, 2]}}


def test_equal_records_have_no_differences_whatever_differs_from_call_to_call():
    assert equivalence.compare(RECORD, RECORD) == 0
    assert equivalence.steady({"wall_s": 1.5, "recall": 0.9, "runs": [{"created_at": "now"}]}) == {
        "recall": 0.9,
        "runs": [{}],
    }

    def page(name: str, least: int):
        schemas = {name: {"minimum": least}}
        return {"openapi": {"body": {"$ref": f"#/components/schemas/{name}"}, "components": {"schemas": schemas}}}

    assert equivalence.compare(page("Ask", 1), page("RecommendRequest", 1)) == 0
    assert equivalence.compare(page("Ask", 1), page("RecommendRequest", 2)) == 1


@pytest.mark.parametrize(
    "changed", [{"run/weights": "cd34"}, {"http 1": {"ids": [2, 1]}}, {"run/run.json": {"seed": 0}}, {"new": 1}]
)
def test_a_difference_counts(changed):
    assert equivalence.compare(RECORD, RECORD | changed) > 0
