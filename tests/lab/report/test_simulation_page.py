"""The report of a simulated experiment: lifts, cohorts and limits."""

from pathlib import Path

import polars as pl
import pytest

from multitudes_lab.report.simulation_page import describe_simulation, lift_sentences, write_simulation_page
from multitudes_lab.simulation.lifts import ALL_USERS, ArmLift
from multitudes_lab.simulation.results import SimulationResult
from tests.report.markup import assert_it_asks_for_nothing_from_outside_and_runs_no_script, assert_well_formed


def moved(metric: str, low: float, high: float, arm: str = "new", cohort: str = ALL_USERS) -> ArmLift:
    return ArmLift(metric, arm, cohort, 2.0, 2.0 + low + high, (low + high) / 2, low, high)


def simulated(*moved: ArmLift, seeds: tuple[int, ...] = (0,)) -> SimulationResult:
    days = pl.DataFrame({"arm": ["old", "new"] * 2, "day": [0, 0, 1, 1], "feed_saves": [1.0, 1.1, 1.0, 1.2]})
    spread = pl.DataFrame({"arm": ["old", "new"], "measure": ["tastes"] * 2, "value": [0.25, 0.5]})
    return SimulationResult("a <test>", "old", ("old", "new"), seeds, 1_000, 500, 2, moved, days, spread)


def page_of(result: SimulationResult, folder: Path) -> str:
    write_simulation_page(result, folder / "report.html")
    return (folder / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("metric", "low", "high", "said"),
    [
        ("feed_saves", 0.1, 0.2, "better"),
        ("feed_saves", -0.2, -0.1, "worse"),
        ("feed_saves", -0.1, 0.2, "not significant"),
        ("hide", 0.1, 0.2, "worse"),  # hides should decrease
        ("hide", -0.2, -0.1, "better"),
    ],
)
def test_a_metric_is_better_or_worse_if_its_interval_excludes_zero(metric, low, high, said):
    assert moved(metric, low, high).verdict == said


def test_the_page_says_what_is_significant_and_what_the_intervals_cover():
    significant, not_significant = (lift_sentences(simulated(moved("feed_saves", low, 0.2)))[0] for low in (0.1, -0.1))
    assert significant == "new: saves in the feed +15.00 % [+10.00, +20.00]"
    assert not_significant == "new: saves in the feed +5.00 % [-10.00, +20.00], not significant"
    assert "one world of 1,000 users" in describe_simulation(simulated())
    assert "over users of that one world and training" in describe_simulation(simulated())
    assert "3 worlds" in describe_simulation(simulated(seeds=(0, 1, 2)))
    assert "over seeds" in describe_simulation(simulated(seeds=(0, 1, 2)))


def test_the_page_has_its_limits_first_then_every_figure_of_the_record(tmp_path):
    rows = [moved("feed_saves", 0.1, 0.2), moved("hide", 0.1, 0.2), moved("feed_saves", -0.1, 0.3, cohort="core")]
    page = page_of(simulated(*rows), tmp_path)
    assert_well_formed(page)
    assert_it_asks_for_nothing_from_outside_and_runs_no_script(page)
    assert "a &lt;test&gt;" in page
    assert page.index("simulated:") < page.index("Saves in the feed by cohort") < page.index("What was shown")
    assert "<span class=better>+15.00 % [+10.00, +20.00]" in page
    assert "<span class=worse>+15.00 % [+10.00, +20.00]" in page
    assert "25.0 %" in page
    assert "50.0 %" in page
    assert page.count("<svg") == 4  # two metrics, one arm by cohort, the days
    assert "Hides" not in page_of(simulated(rows[0]), tmp_path)


def test_axe_finds_nothing_serious(check_page, tmp_path):
    check_page(page_of(simulated(moved("feed_saves", 0.1, 0.2)), tmp_path))
