"""The page and the sentences of a study follow from its summary; the page is self-contained."""

import json
import re

import numpy as np
import pytest

from multitudes.report import study_tables
from multitudes.report.document import to_markdown
from multitudes.report.formatting import CONTROL_LABELS, format_difference, format_interval, format_number
from multitudes.report.html_elements import html_page
from multitudes.report.study_page import conclusion, picture_caption, study_blocks
from multitudes.report.study_tables import overview_table, ranks_table, verdicts_table
from multitudes.study.comparison import Resampling
from multitudes.study.summary import summarise
from tests.report.markup import assert_it_asks_for_nothing_from_outside_and_runs_no_script, assert_well_formed, text_of
from tests.study.planted import outcomes, write_study

GAINS = {
    "single": 0.0,
    "joint": 0.1,
    "joint/random_partition": 0.0,
    "joint/averaged": 0.02,
    "joint/implicit": 0.0,
    "<odd>": -0.1,
    "popularity": -0.15,
}


def study_page(summary):
    return html_page(str(summary["name"]), study_blocks(summary), "study.css")


@pytest.fixture(scope="module")
def summary(tmp_path_factory):
    rng = np.random.default_rng(0)
    data = {name: outcomes(rng, GAINS, of_seeds=0.005, budgets=(10, 100)) for name in ("first", "second & last")}
    study = write_study(tmp_path_factory.mktemp("study"), data, failed=(("first", "joint", 9),))
    return summarise(study, Resampling(500, 500))


@pytest.fixture(scope="module")
def page(summary):
    return study_page(summary)


def changed(summary, change=lambda _copy: None):
    """Return a changed copy without most charts, because they are slow."""
    copy = json.loads(json.dumps(summary))
    copy["health"] = {}
    for part in copy["data"].values():
        part["segments"], part["budgets"] = {}, [100]
    change(copy)
    return copy


def test_the_page_is_well_formed_asks_for_nothing_and_escapes_names(page):
    assert_well_formed(page)
    sections = ["first", "second-last", "across-the-data-sets", "how-the-study-was-run"]
    assert re.findall(r'href="#([\w-]+)"', page) == re.findall(r'<h2 id="([\w-]+)"', page) == sections
    assert_it_asks_for_nothing_from_outside_and_runs_no_script(page)
    assert page.count("<svg") == 2 * 5, "each data set: differences, four segmentations"
    assert "<odd>" not in page
    assert "&lt;odd&gt;" in page
    assert "second &amp; last" in page


def test_every_hit_rate_and_difference_is_that_of_the_summary(page, summary):
    shown = text_of(page)
    for part in summary["data"].values():
        for name, found in part["methods"].items():
            assert format_interval(found["figures"]["hr"]) in shown
            if name == "joint/implicit":  # paired with its method, not compared with the reference
                assert format_difference(part["systems"][name]["hr"], 4).removesuffix(" *") in shown
            elif "hr" in found["minus"]:
                assert format_difference(found["minus"]["hr"], 4).removesuffix(" *") in shown


def test_the_markdown_has_the_same_tables_and_every_row_as_many_cells_as_its_head(summary):
    tables = [block for block in to_markdown(study_blocks(summary)).split("\n\n") if block.startswith("|")]
    assert len(tables) >= 12
    for lines in map(str.splitlines, tables):
        assert len({line.replace("\\|", "").count("|") for line in lines}) == 1
    for found in summary["data"]["first"]["methods"].values():
        assert any(format_interval(found["figures"]["hr"]) in block for block in tables)


@pytest.mark.parametrize("few_methods", [0, 4])
def test_the_first_table_compares_with_the_strongest_baseline_else_with_the_reference(
    few_methods, summary, monkeypatch
):
    """With many methods each has a row, with few a column."""
    monkeypatch.setattr(study_tables, "_FEW_METHODS", few_methods)
    first = to_markdown([overview_table(summary)])
    for gain in summary["data"]["first"]["strongest_baseline"]["minus"].values():
        assert format_difference(gain) in first
    assert "popularity" in first

    def without(copy):
        copy["data"]["first"]["strongest_baseline"] = copy["data"]["second & last"]["strongest_baseline"] = None

    alone = changed(summary, without)
    methods = alone["data"]["first"]["methods"]
    first = to_markdown([overview_table(alone)])
    assert format_difference(methods["joint"]["minus"]["hr"]) in first
    assert f"| {format_number(methods['single']['figures']['hr']['mean'])} |" in first
    assert "baseline" not in first
    assert "averaged" not in first
    assert picture_caption(alone) == "HR of each method less that of single, by data set"


def amount(summary):
    """Return the verdicts of the page: opponent → counts of each row."""
    table = verdicts_table(summary)
    return {row[0]: dict(zip(table.head[1:], row[1:], strict=True)) for row in table.rows}


def test_the_verdicts_count_what_was_planted(summary):
    rows = amount(summary)
    assert rows["joint"] == {
        "strongest baseline": "2 / 0 / 0",
        "single": "2 / 0 / 0",
        "random partition": "2 / 0 / 0",
        "average": "2 / 0 / 0",
        "all controls": "2 / 2",
    }
    assert rows["single"]["strongest baseline"] == "2 / 0 / 0"
    assert rows["<odd>"]["single"] == rows["popularity"]["single"] == "0 / 0 / 2"

    def doubtful(copy):  # one such difference alone would be shown
        for data_set in copy["data"].values():
            for gain in data_set["strongest_baseline"]["minus"].values():
                gain["p"] = 0.04

    assert amount(changed(summary, doubtful))["joint"]["strongest baseline"] == "0 / 2 / 0"

    def behind(copy):
        copy["data"]["first"]["strongest_baseline"]["minus"]["joint"]["mean"] *= -1

    assert amount(changed(summary, behind))["joint"]["strongest baseline"] == "1 / 0 / 1"

    def level(copy):
        copy["data"]["first"]["controls"]["joint"]["averaged"]["verdict"] = "level"

    rows = amount(changed(summary, level))
    assert (rows["joint"]["average"], rows["joint"]["all controls"]) == ("1 / 1 / 0", "1 / 2")


def test_a_study_without_trained_controls_has_no_column_of_them(summary, page):
    label = CONTROL_LABELS["trained_control"]
    assert label not in page

    def trained(copy):
        gains = copy["data"]["first"]["controls"]["joint"]
        gains["trained_control"] = gains["averaged"]

    other = changed(summary, trained)
    assert study_page(other).count(f"− its {label}</th>") == 1
    assert amount(other)["joint"][label] == "1 / 0 / 0"


def test_too_few_data_sets_are_named_with_the_number_needed(summary, page):
    said = conclusion(summary["overall"])
    assert said.startswith(
        "Too few data sets for a conclusion: a significant difference between any two of 3 methods takes at least 7"
    )
    assert said in text_of(page)
    enough = summary["overall"] | {"enough": True}
    assert conclusion(enough) == "2 data sets: enough to show a difference between two of 3 methods."


def test_methods_that_do_not_differ_share_a_letter():
    ranks = {"ranks": {"a": 1.0, "b": 1.5, "c": 3.0, "d": 4.0}, "cliques": [["a", "b"], ["b", "c"]]}
    assert [row[2] for row in ranks_table(ranks).rows] == ["a", "ab", "b", "–"]


def test_without_the_reference_or_anything_else_there_is_a_page(tmp_path):
    data = {"first": outcomes(np.random.default_rng(1), {"joint": 0.0, "equal": 0.0})}
    shown = text_of(study_page(summarise(write_study(tmp_path, data), Resampling(100, 100))))
    assert "The reference single has no figure here." in shown
    frame = outcomes(np.random.default_rng(2), {"single": 0.0}).clear()
    study = write_study(tmp_path, {"first": frame}, failed=(("first", "single", 0),))
    assert "killed by signal 9" in study_page(summarise(study, Resampling(100, 100)))


def test_axe_finds_nothing_serious(check_page, page):
    check_page(page)
