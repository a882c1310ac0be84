"""The page of a readout: it stands alone, says what the verdict says, and shows what there is."""

from pathlib import Path

import pytest

from multitudes.readout.config import ReadoutConfig
from multitudes.readout.readout import Readout, read_out
from multitudes.readout.verdict import verdict
from multitudes.report.readout_page import readout_page, write_readout_report
from tests.readout.worlds import NOW, World, plant


def read(world: World, folder: Path) -> Readout:
    return read_out(*world.write(folder), ReadoutConfig(metrics=("saves",)), now=NOW)


@pytest.fixture(scope="module")
def planted(tmp_path_factory) -> Readout:
    return read(plant(3_000, cohort_lift=0.5), tmp_path_factory.mktemp("experiment"))


def test_it_says_the_verdict_and_draws_everybody_cohorts_and_days(planted):
    page = readout_page(planted)
    assert all(line.split(":")[0] in page for line in verdict(planted))
    assert "not the same for all cohorts" in page
    assert page.count("<svg") == 3
    assert "class=better" in page


def test_it_asks_for_nothing_from_outside(planted, tmp_path):
    file = tmp_path / "new" / "readout.html"
    write_readout_report(planted, file)
    page = file.read_text()
    assert page.startswith("<!doctype html>")
    assert "<script" not in page
    assert "src=" not in page


def test_a_name_from_the_tables_is_no_html(tmp_path):
    world = plant(300)
    evil = world.outcomes.with_columns(metric=world.outcomes["metric"].replace("saves", "<b>saves</b>"))
    files = World(world.exposures, evil).write(tmp_path)
    page = readout_page(read_out(*files, ReadoutConfig(metrics=("<b>saves</b>",)), now=NOW))
    assert "<b>" not in page
    assert "&lt;b&gt;saves" in page


def test_what_is_not_there_has_no_section(tmp_path):
    world = plant(300)
    page = readout_page(read(World(world.exposures.drop("cohort"), world.outcomes), tmp_path))
    assert "For whom" not in page
