import json

import pytest
from benchmarks.machine import ROOT
from benchmarks.page import page

from benchmarks import train
from multitudes.progress import silent

KEPT = json.loads(train.RESULTS.read_text(encoding="utf-8"))
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
    assert page(KEPT) == (ROOT / "records" / "speed.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_parts_of_a_training_share_its_whole_time(tmp_path):
    figures = train.measure(TINY, tmp_path, silent)
    assert json.loads(json.dumps(figures, allow_nan=False))["settings"]
    assert page(KEPT | {"figures": figures})
    for run in figures["runs"]:
        assert sum(run["parts"].values()) == pytest.approx(1, abs=0.05), "a thread that reads ahead overlaps a little"
        assert {watched.part for watched in train.PARTS} <= set(run["parts"])
