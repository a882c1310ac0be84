import json

import pytest
from benchmarks.machine import ROOT
from benchmarks.page import page

from benchmarks import cost, train
from multitudes.progress import silent

KEPT = json.loads(train.RESULTS.read_text(encoding="utf-8"))
COST = json.loads(cost.RESULTS.read_text(encoding="utf-8"))
TINY = train.Sizes(
    users=20,
    items=300,
    events=1_000,
    history=20,
    batch_size=64,
    epochs=2,
    large_batches=2,
    default_batches=2,
    methods=("joint",),
    cases=("one target per history",),
)


def test_the_page_is_the_one_that_is_kept():
    assert page(KEPT, COST) == (ROOT / "records" / "speed.md").read_text(encoding="utf-8")


def test_the_modules_of_a_step_have_flops_and_a_longer_history_has_more(tmp_path):
    prepared = train.prepare_world(tmp_path, TINY.users, TINY.items, TINY.events)
    short, long = (
        cost.count(prepared, "joint", {"history": history}, {"batch_size": 16, "window": 1}) for history in (5, 20)
    )
    assert long["flops"] > short["flops"] > 0
    assert long["bytes"] > short["bytes"] > 0
    assert sum(long["parts"].values()) == pytest.approx(1, abs=0.001)
    assert long["parts"]["sequence encoder"] > short["parts"]["sequence encoder"]


@pytest.mark.slow
def test_the_parts_of_a_training_share_its_whole_time(tmp_path):
    figures = train.measure(TINY, tmp_path, silent)
    assert json.loads(json.dumps(figures, allow_nan=False))["settings"]
    assert page(KEPT | {"figures": figures})
    for run in figures["runs"]:
        assert sum(run["parts"].values()) == pytest.approx(1, abs=0.05), "a thread that reads ahead overlaps a little"
        assert {watched.part for watched in train.PARTS} <= set(run["parts"])
