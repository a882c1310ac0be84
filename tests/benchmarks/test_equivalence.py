"""Two records are compared field by field; a renamed field is no difference, anything else is."""

import pytest

from benchmarks import equivalence

RECORD = {"run/run.json": {"forget": 0.2, "seed": 0}, "run/weights": "ab12", "http 1": {"ids": [1, 2]}}


@pytest.fixture(autouse=True)
def _one_renamed_field(monkeypatch):
    monkeypatch.setattr(equivalence, "RENAMED", {"forget": "history_dropout"})


def test_equal_records_have_no_differences_and_renamed_fields_are_listed(capsys):
    now = RECORD | {"run/run.json": {"history_dropout": 0.2, "seed": 0}}
    assert equivalence.compare(RECORD, now) == 0
    assert "renamed: forget → history_dropout" in capsys.readouterr().out


@pytest.mark.parametrize(
    "changed",
    [
        {"run/weights": "cd34"},
        {"http 1": {"ids": [2, 1]}},
        {"http 1": {"ids": [1]}},
        {"run/run.json": {"history_dropout": 0.3, "seed": 0}},
        {"run/run.json": {"history_dropout": 0.2}},
        {"run/run.json": {"history_dropout": 0.2, "seed": 0, "more": 1}},
        {"new": 1},
    ],
)
def test_any_other_difference_counts(changed):
    now = RECORD | {"run/run.json": {"history_dropout": 0.2, "seed": 0}}
    assert equivalence.compare(RECORD, now | changed) > 0


def test_what_differs_from_call_to_call_is_left_out():
    assert equivalence.steady({"wall_s": 1.5, "recall": 0.9, "runs": [{"created_at": "now"}]}) == {
        "recall": 0.9,
        "runs": [{}],
    }


def test_schemas_are_compared_and_not_their_names():
    def page(name: str, least: int):
        schemas = {name: {"minimum": least}}
        return {"openapi": {"body": {"$ref": f"#/components/schemas/{name}"}, "components": {"schemas": schemas}}}

    assert equivalence.compare(page("Ask", 1), page("RecommendRequest", 1)) == 0
    assert equivalence.compare(page("Ask", 1), page("RecommendRequest", 2)) == 1
