"""The benchmark of the simulated world runs as a whole, and its page is of its results."""

import json
import sys

import pytest
from benchmarks.child_process import ChildResult
from benchmarks.machine import ROOT
from benchmarks.simulate import organic, retrieval
from benchmarks.simulate.__main__ import main
from benchmarks.simulate.page import BEGIN, PICTURE, RESULTS, SARDINE, compare, figures, update_page
from benchmarks.simulate.picture import draw

from multitudes.data.prepare import prepare
from tests.worlds import SMALL_MODEL


def test_the_documents_figures_are_those_of_the_kept_runs():
    page = (ROOT / "records" / "simulated-world.md").read_text()
    results, beside = json.loads(RESULTS.read_text()), json.loads(SARDINE.read_text())
    assert BEGIN in page
    assert update_page(page, results, beside) == page
    assert not any(part["quick"] for part in results.values())
    assert (ROOT / "records" / PICTURE).exists()
    results["marginals"]["figures"]["sets"]["world"]["repeat_share"] = 0.99
    changed = update_page(page, results, beside)
    assert changed != page
    assert any("**above**" in line and "0.99" in line for line in figures(results))
    beside["figures"]["orders"]["SARDINE"]["by chance"] = 2.0
    assert update_page(page, results, beside) != changed


@pytest.mark.parametrize(("own", "said"), [(1.0, "**below**"), (2.0, "yes"), (4.0, "yes"), (5.0, "**above**")])
def test_a_figure_is_within_the_range_of_the_public_sets_or_not(own, said):
    public = {"a": {"share": 2.0}, "b": {"share": 4.0}, "c": {"share": None}}
    row = compare("share", ("share",), {"share": own}, public)
    assert row is not None
    assert row[-1] == said


def call_here(function, threads, **arguments):
    """Stand in for ``run_in_child`` where the child would have to load torch and trace towers."""
    assert threads == 1
    return ChildResult(function(**arguments), seconds=1, cpu_s=1, peak_mib=1)


@pytest.mark.slow
@pytest.mark.usefixtures("shared_exports")
def test_parts_are_kept_one_by_one_and_make_a_page_and_a_picture(tmp_path, monkeypatch):
    out = tmp_path / "simulate.json"
    monkeypatch.setattr(retrieval, "MODEL", SMALL_MODEL)
    monkeypatch.setattr(retrieval, "run_in_child", call_here)
    monkeypatch.setattr(sys, "argv", ["simulate", "--quick", "--out", str(out)])
    main()
    results = json.loads(out.read_text())
    assert set(results) == {"marginals", "prize", "speed", "retrieval"}
    assert {"machine", "versions", "seeds", "load"} <= set(results["speed"])
    assert results["speed"]["figures"]["impressions_per_s"]["median"] > 0
    assert any("1 public set," in line for line in figures(results))
    draw(results["marginals"]["figures"]["sets"], tmp_path / "drawn.svg")
    assert (tmp_path / "drawn.svg").read_text().startswith("<svg")


def test_what_users_save_without_a_feed_can_be_prepared(tmp_path, monkeypatch):
    monkeypatch.setattr(
        sys, "argv", ["organic", str(tmp_path / "world"), "--users", "60", "--items", "900", "--days", "9"]
    )
    organic.main()
    data = prepare(tmp_path / "world", tmp_path / "prepared")
    assert data.n_users == 60
    assert not data.ordered_only
    assert len(data.follow_topic) > 0
    assert not data.event_source.any()
