import subprocess
import sys
import time

import pytest
from benchmarks.timing import Readings, rates, round_figure, spread, time_calls, wall_and_cpu


def burn():
    """Work for at least 50 ms of processor time."""
    end = time.process_time() + 0.05
    while time.process_time() < end:
        pass


def test_sleeping_costs_the_wall_and_no_processor_while_work_costs_both():
    asleep, at_work = time_calls(lambda: time.sleep(0.05), 2), time_calls(burn, 2)
    assert len(asleep.wall) == len(asleep.cpu) == 2
    assert min(asleep.wall) >= 0.05 > 10 * max(asleep.cpu)
    assert min(at_work.wall) >= 0.049
    assert min(at_work.cpu) >= 0.049


def test_the_processor_time_of_children_counts():
    code = "import time\nwhile time.process_time() < 0.2: pass"
    assert time_calls(lambda: subprocess.run([sys.executable, "-c", code], check=True), 1).cpu[0] >= 0.19


def test_spreads_and_rates_on_both_clocks():
    readings = Readings(wall=[4.0, 1.0, 2.0], cpu=[0.5, 0.5, 1.0])
    assert spread(readings.wall) == {"median": 2.0, "min": 1.0, "max": 4.0, "repeats": 3}
    assert wall_and_cpu(readings, 1000)["cpu"]["max"] == 1000.0
    assert rates(readings, 8)["wall"] == {"median": 4.0, "min": 2.0, "max": 8.0, "repeats": 3}


@pytest.mark.parametrize(("value", "shown"), [(1.23456, 1.235), (123456.0, 123500.0), (0.0, 0.0)])
def test_figures_have_four_digits(value, shown):
    assert round_figure(value) == shown
