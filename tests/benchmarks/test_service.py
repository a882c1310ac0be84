"""The benchmark of the service: its world, a tiny run, and the page of the kept one."""

import json
from contextlib import closing

import pytest
from benchmarks.machine import ROOT
from benchmarks.service.page import RESULTS, page
from benchmarks.service.releases import STORE, world_folder
from benchmarks.service.run import Cores, Plan, measure_service
from benchmarks.service.world import Sizes

from multitudes.retrieval.request import Request
from multitudes.retrieval.retriever import Retriever
from multitudes.state.store import open_state_store

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


@pytest.mark.slow
@pytest.mark.usefixtures("shared_exports")
def test_both_releases_answer_in_full_and_only_joint_with_a_vector_for_each_interest(tmp_path):
    folder = world_folder(SIZES, tmp_path)
    with closing(open_state_store(folder / STORE)) as states:
        (person,) = states.read([3])
    assert len(person.events) == SIZES.history
    answers = {
        method: Retriever.open(folder / method).answer([Request(3, user_state=person, n=30)])[0]
        for method in ("single", "joint")
    }
    assert {method: len(answer.interests) for method, answer in answers.items()} == {"single": 1, "joint": 11}
    assert not any(answer.degraded for answer in answers.values())
