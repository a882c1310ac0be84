import json

import pytest
from benchmarks.machine import ROOT
from benchmarks.page import page
from benchmarks.profiling import TimedFunction, profile

from benchmarks import cost, train
from multitudes.progress import silent
from tests.clock import Clock

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


def test_each_part_has_its_own_time_and_the_parts_share_the_whole():
    now = Clock()

    class Work:
        def inner(self):
            now.now_s += 3

        def outer(self):
            now.now_s += 1
            self.inner()
            self.inner()

    watched = [TimedFunction(name, Work, name) for name in ("inner", "outer")]
    with profile(watched, now) as stopwatch:
        Work().outer()
        now.now_s += 3
    assert stopwatch.seconds == {"inner": 6, "outer": 1}
    assert stopwatch.shares(now.now_s) == {"inner": 0.6, "outer": 0.1, "rest": 0.3}


@pytest.mark.slow
def test_a_training_has_figures_and_a_time_for_each_part(tmp_path):
    figures = train.measure(TINY, tmp_path, silent)
    assert json.loads(json.dumps(figures, allow_nan=False))["settings"]
    assert page(KEPT | {"figures": figures})
    for run in figures["runs"]:
        assert {watched.part for watched in train.PARTS} <= set(run["parts"])
