"""The benchmark of the service: its world, a tiny run, and the page of the kept one."""

import json

import pytest
from benchmarks.machine import ROOT
from benchmarks.service.page import RESULTS, page
from benchmarks.service.run import Cores, Plan, measure_service
from benchmarks.service.world import Sizes

SIZES = Sizes(items=1_500, users=12, width=16, topics=8, history=10, seen=20, follows=4)
PLAN = Plan(n=20, rate=10, clients=2, seconds=1, rounds=1, inside=3)


def test_the_page_is_that_of_the_kept_results():
    kept = (ROOT / "records" / "service-speed.md").read_text(encoding="utf-8")
    assert page(json.loads(RESULTS.read_text(encoding="utf-8"))) == kept


@pytest.mark.slow
@pytest.mark.usefixtures("shared_exports")
def test_a_tiny_run_loads_both_services_and_has_a_page(tmp_path):
    record = json.loads(json.dumps(measure_service(SIZES, PLAN, Cores([0], [0]), tmp_path), allow_nan=False))
    text = page([record])
    assert all(f"### {head}" in text for head in ("Under load", "Where the time goes", "The process"))
    assert "nan" not in text
    for one in record["figures"]["methods"].values():
        assert (one["errors"], one["degraded"]) == (0, 0)
        assert min(one["memory_mib"].values()) > 0 < one["cpu_ms"]["median"]
        assert all(spread["min"] > 0 for spread in one["inside_cpu_ms"]["stages"].values())
