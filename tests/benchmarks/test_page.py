import json

from benchmarks.markdown import format_number, format_spread, table
from benchmarks.page import page
from hypothesis import given
from hypothesis import strategies as st


def spread(median):
    return {"median": median, "min": 100.0, "max": 900.0, "repeats": 3}


def record(median, load=0.5, quick=False):
    return {
        "name": "start",
        "quick": quick,
        "when": "2026-01-01 00:00 UTC",
        "machine": {"cpu": "Abacus 7", "cores": 2, "memory_gib": 8.0, "os": "Some OS"},
        "load": {"before": load, "after": load},
        "versions": {"python": "3.11", "torch": None},
        "seeds": [3],
        "threads": 2,
        "seconds": 1.0,
        "figures": {"ms": {"import x": {"wall": spread(median), "cpu": spread(7.0)}}},
    }


def test_the_page_shows_the_figures_of_the_file_and_names_the_machine():
    shown = page([record(250.0)], "results/a.json")
    assert "| `import x` | 250 (100–900) | 7 (100–900) |" in shown
    assert "Abacus 7, 2 cores" in shown
    assert "load 0.5 to 0.5" in shown
    assert "results/a.json" in shown
    assert "torch" not in shown
    assert "| `import x` | 125 (100–900) | 7 (100–900) |" in page([record(125.0)], "results/a.json")


def test_tiny_sizes_are_called_tiny():
    assert "say nothing" in page([record(250.0, quick=True)], "a")
    assert "say nothing" not in page([record(250.0)], "a")


def test_subjects_that_were_not_measured_have_no_section():
    assert "## Start" in page([record(250.0)], "a")
    assert "## Train" not in page([record(250.0)], "a")


def test_numbers_have_three_digits():
    assert [format_number(v) for v in (0.01234, 1.0, 12.345, 123.456, 98765.4)] == [
        "0.0123",
        "1",
        "12.3",
        "123",
        "98,800",
    ]


def test_one_repeat_has_no_range():
    assert format_spread({"median": 2.0, "min": 2.0, "max": 2.0, "repeats": 1}) == "2"
    assert format_spread({"median": 2.0, "min": 1.0, "max": 4.0, "repeats": 3}) == "2 (1–4)"


@given(st.floats(min_value=1e-4, max_value=1e9))
def test_a_number_loses_at_most_its_third_digit(value):
    assert abs(float(format_number(value).replace(",", "")) - value) <= 0.005001 * value


def test_every_row_of_a_table_has_a_cell_for_each_column():
    lines = table(["a", "b"], [["1", "2"], ["3", ""]])
    assert {line.count("|") for line in lines if line} == {3}
    assert json.dumps(lines[-1]) == '""'
