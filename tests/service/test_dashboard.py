"""What is shown is what is measured: expressions name metrics and labels that are there, and none is forgotten."""

import json
import re
import runpy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from reference.service import labels_by_name

ROOT = Path(__file__).parents[2]
GRAFANA = ROOT / "deploy" / "grafana"
PAGE = (ROOT / "docs" / "observe.md").read_text()
MATCHING = r"\b(?:by|without|on|ignoring|group_left)\s*\(([^)]*)\)"
METRIC = r"\bmultitudes[\w:]+|\bup\b"
GROWING = ("_total", "_bucket", "_sum", "_count")
Labels = Mapping[str, tuple[str, ...]]


def check(expression: str, known: Labels) -> set[str]:
    """Return the metrics of an expression that Prometheus answers: names and labels exist, and rates are of counters.

    Raises:
        AssertionError: of one that it rejects, or answers with nothing.
    """
    bare = re.sub(r'"(?:[^"\\]|\\.)*"', "", expression)  # without what is in quotes
    metrics = set(re.findall(METRIC, bare))
    assert metrics, expression
    assert bare.count("(") == bare.count(")"), expression
    assert metrics <= known.keys(), f"no metric {metrics - known.keys()}: {expression}"
    matched = " ".join([*re.findall(MATCHING, bare), *re.findall(r"(\w+)\s*(?:=~|!~|!=|=)(?!=)", bare)])
    labels = {"job", "instance"}.union(*(known[name] for name in metrics))
    assert set(re.findall(r"\w+", matched)) <= labels, expression
    rated = re.findall(r"\b(?:rate|increase)\(\s*([\w:]+)", bare)
    assert all(name.endswith(GROWING) for name in rated), expression
    return metrics


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((GRAFANA / "rules.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def known() -> dict[str, tuple[str, ...]]:
    """Return the labels of what may be asked for: what is measured, what is recorded, and ``up``."""
    recorded = {}
    for rule in rules():
        if "record" in rule:
            [by] = set(re.findall(r"by \(([^)]*)\)", rule["expr"]))
            recorded[rule["record"]] = tuple(label for label in by.split(", ") if label != "le")
    return labels_by_name() | recorded | {"up": ()}


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((GRAFANA / "dashboard.json").read_text())
    return found


def expressions() -> list[str]:
    panels = [target["expr"] for panel in dashboard()["panels"] for target in panel.get("targets", ())]
    return [*panels, *(rule["expr"] for rule in rules())]


def test_every_expression_can_be_answered_and_everything_that_is_measured_is_shown():
    labels = known()
    for expression in expressions():
        assert check(expression, labels)
    shown = set().union(*(check(expression, labels) for expression in expressions()))
    families = {re.sub(r"_(bucket|sum|count)$", "", name) for name in labels_by_name()}
    assert families - {re.sub(r"_(bucket|sum|count)$", "", name) for name in shown} == set()


@pytest.mark.parametrize(
    "wrong",
    [
        "rate(multitudes_answer_total[5m])",
        'sum(rate(multitudes_answers_total{source="implicit"}[5m]))',
        "sum by (cause) (rate(multitudes_answers_total[5m]))",
        "rate(multitudes_queue_length[5m])",
        "multitudes:answers:ratio > 1",
    ],
)
def test_a_wrong_expression_is_found(wrong):
    """Control."""
    with pytest.raises(AssertionError):
        check(wrong, known())


def test_the_dashboard_is_the_one_that_its_program_writes():
    written = runpy.run_path(str(GRAFANA / "dashboard.py"))["dashboard"]()
    assert dashboard() == written


def test_the_five_questions_can_be_answered():
    part = PAGE.partition("## Five questions")[2].partition("## Metrics")[0]
    queries = [line for block in re.findall(r"```promql\n(.*?)```", part, re.DOTALL) for line in block.splitlines()]
    assert len(re.findall(r"^\*\*.+\?\*\*", part, re.MULTILINE)) == 5
    assert len(queries) >= 5
    for query in queries:
        assert check(query, known())
