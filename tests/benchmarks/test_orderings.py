"""The page of the orderings says what is kept, and no more."""

import json

from benchmarks.machine import ROOT
from benchmarks.simulate.orderings import CLAIMS, RESULTS, Claim
from benchmarks.simulate.orderings_page import came_back, said, written_into

from multitudes.simulate.config import read_experiment


def test_the_documents_tables_are_those_of_what_is_kept():
    page = (ROOT / "docs" / "simulation.md").read_text(encoding="utf-8")
    assert written_into(page, json.loads(RESULTS.read_text(encoding="utf-8"))) == page


def test_every_claim_is_about_arms_of_the_example():
    arms = read_experiment(ROOT / "examples" / "orderings.toml").arms
    assert {arm for claim in CLAIMS for arm in (claim.arm, claim.control)} <= arms.keys()


def test_an_ordering_came_back_only_where_its_interval_leaves_zero_out():
    better, worse = Claim("", "a", "b", ""), Claim("", "a", "b", "", better=False)
    up, down, wide = ({"lift": (a + b) / 2, "low": a, "high": b} for a, b in ((0.1, 0.2), (-0.2, -0.1), (-0.1, 0.2)))
    assert [came_back(better, one) for one in (up, down, wide)] == ["yes", "**the other way round**", "not shown"]
    assert [came_back(worse, one) for one in (up, down, wide)] == ["**the other way round**", "yes", "not shown"]
    assert said(wide) == "+5.0 [−10.0, +20.0]"
    assert said({"lift": None, "low": None, "high": None}) == "–"
