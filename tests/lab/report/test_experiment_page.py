"""The report of an experiment: self-contained, with the conclusions and all figures."""

from pathlib import Path

import pytest

from multitudes_lab.experiments.config import ReadoutConfig
from multitudes_lab.experiments.readout import Readout, analyse_experiment
from multitudes_lab.experiments.summary import verdict
from multitudes_lab.report.experiment_page import write_experiment_page
from tests.lab.experiments.worlds import NOW, World, plant


def read(world: World, folder: Path) -> Readout:
    return analyse_experiment(*world.write(folder), ReadoutConfig(metrics=("saves",)), now=NOW)


def page_of(readout: Readout, folder: Path) -> str:
    write_experiment_page(readout, folder / "readout.html")
    return (folder / "readout.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def planted(tmp_path_factory) -> Readout:
    return read(plant(3_000, cohort_lift=0.5), tmp_path_factory.mktemp("experiment"))


def test_it_has_the_conclusions_and_charts_of_all_users_cohorts_and_days(planted, tmp_path):
    page = page_of(planted, tmp_path)
    assert all(line.split(":")[0] in page for line in verdict(planted))
    assert "the lift differs between cohorts" in page
    assert page.count("<svg") == 3
    assert "class=better" in page


def test_what_is_not_there_has_no_section(tmp_path):
    world = plant(300)
    page = page_of(read(World(world.exposures.drop("cohort"), world.outcomes), tmp_path), tmp_path)
    assert "Against control" in page
    assert "By cohort" not in page


def test_axe_finds_nothing_serious(check_page, planted, tmp_path):
    check_page(page_of(planted, tmp_path))
