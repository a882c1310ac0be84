"""The table of segments: when each kind of vector pays, and nothing where there is no target."""

import io

import pytest
from rich.console import Console

from multitudes.report.document import to_markdown, to_terminal
from multitudes.report.evaluation_tables import health_facts, segments_table
from multitudes.report.formatting import format_difference

RATES = {"joint": 0.301, "unconditioned": 0.302, "implicit": 0.303, "explicit": 0.304, "ease": 0.305, "ials": 0.306}


def result(**changes):
    """Return a result with one segment of targets, in which all differences are of its figures."""
    methods = {name: {"hr@100": {"mean": rate, "low": rate, "high": rate}} for name, rate in RATES.items()}
    gains = {
        name: {"hr@100": {"mean": rate - 0.302, "low": rate - 0.352, "high": rate - 0.252}}
        for name, rate in RATES.items()
        if name != "unconditioned"
    }
    part = {"users": 30, "targets": 1234, "methods": methods, "minus_unconditioned": gains} | changes
    segments = {"horizon": {"within_day": part, "later": part | {"targets": 0}}}
    return {
        "method": "joint",
        "budget": 100,
        "methods": methods,
        "strongest_baseline": "ease",
        "segments": segments,
        "differences": {},
    }


def test_each_kind_is_beside_the_whole_history_with_its_difference_and_empty_segments_are_left_out():
    text = to_markdown([segments_table(result())])
    assert "target in a day" in text
    assert "target later" not in text
    assert "1,234" in text
    for name in ("implicit", "explicit", "joint", "ease"):
        gain = result()["segments"]["horizon"]["within_day"]["minus_unconditioned"][name]["hr@100"]
        assert f"{RATES[name]:.3f}"[1:] in text
        assert format_difference(gain) in text
    assert ".306" not in text  # another baseline


def test_a_run_with_one_kind_of_vector_and_an_earlier_result_have_rates_alone():
    other = result()
    for part in other["segments"]["horizon"].values():
        del part["minus_unconditioned"]
    text = to_markdown([segments_table(other)])
    assert "| target in a day | 1,234 | .302 | .303 | .304 | .301 | .305 |" in text
    assert "[" not in text


@pytest.mark.parametrize("width", [60, 80])
def test_a_narrow_terminal_keeps_the_names_of_the_segments(width):
    stream = io.StringIO()
    Console(width=width, file=stream).print(to_terminal(segments_table(result()), width))
    text = stream.getvalue()
    assert text.split()[5] == "segment"
    assert all(word in text.split() for word in ("target", "followed", "topics", ".304"))


def test_followed_topics_have_no_column_where_nobody_follows_anything():
    nobody = result() | {"interests": {"empty_topics": {"mean": 1.0}}}
    assert "followed topics" in to_markdown([segments_table(result())])
    assert "followed topics" not in to_markdown([segments_table(nobody)])


def test_a_figure_that_no_user_has_is_not_shown():
    figures = {
        "effective": {"mean": 2.0, "low": 1.5, "high": 2.5},
        "overlap": {"mean": None, "low": None, "high": None},
    }
    assert [value for value, _ in health_facts({"interests": figures})] == ["2.00 [1.50, 2.50]"]
