"""The page of scale holds what the plan says and what was measured; the parts run as a whole."""

import json
from pathlib import Path

import pytest
from benchmarks.machine import ROOT
from benchmarks.scale import growth
from benchmarks.scale.page import BEGIN, BEGIN_GROWTH, RESULTS, update_page
from benchmarks.scale.picture import WHOLE, Cell, slopes
from benchmarks.unit_costs import RESULTS as RECORDS
from benchmarks.unit_costs import collect_unit_costs

from multitudes_lab.capacity.unit_costs import load_unit_costs

PAGE = ROOT / "records" / "scale.md"


def test_the_page_is_that_of_the_kept_figures_and_others_change_it():
    page, results, costs = PAGE.read_text(), json.loads(RESULTS.read_text()), load_unit_costs(None)
    assert BEGIN in page
    assert BEGIN_GROWTH in page
    assert update_page(page, results, costs) == page
    assert update_page(page, results, costs.model_copy(update={"machine": "another"})) != page


def test_the_shipped_unit_costs_are_those_of_the_kept_records():
    names = ("speed", "index", "service", "scale")
    records = {name: json.loads((RECORDS / f"{name}.json").read_text()) for name in names}
    assert collect_unit_costs(**records) == load_unit_costs(None)


def test_slopes_are_the_exponents_that_were_planted_and_one_size_has_none():
    planted = {"linear": 1.0, "root": 0.5}
    sizes = (100, 10_000)
    found = [Cell(WHOLE, name, size, 3 * size**slope, False) for name, slope in planted.items() for size in sizes]
    assert slopes([*found, Cell(WHOLE, "once", 7, 1.0, True)]) == pytest.approx(planted)


@pytest.mark.slow
def test_tables_are_made_and_prepared_in_processes_of_their_own(tmp_path: Path):
    trained = growth.measure_training_memory(2_000, 600, 2, "500MB", tmp_path)["train"]
    assert trained["anonymous_mib"] > trained["own_libraries_mib"] > 0
    found = growth.measure_growth(2_000, "500MB", tmp_path)
    assert found["synth"]["peak_mib"] > 0
    assert found["prepare"]["events_per_s"] > 0
    assert found["prepared_mib"] > 0
    assert list(tmp_path.iterdir()) == []
