"""The pages of the kept studies say what the summaries hold."""

import copy

import pytest
from benchmarks.study_pages import DEFAULT, PAGE, RECORDS, RESULTS, STUDIES, appendix, summary_of, update_page


def test_every_kept_study_has_a_page():
    kept = {str(file.parent.relative_to(RESULTS)) for file in RESULTS.rglob("summary.json")}
    assert kept - {*STUDIES.values()} == {"linear-amazon"}  # two more seeds of `linear`, which its page quotes


@pytest.mark.parametrize("name", STUDIES)
def test_the_tables_of_a_study_are_those_of_its_summary(name: str):
    text = (RECORDS / f"{name}-sets.md").read_text(encoding="utf-8")
    assert text == appendix(name, summary_of(STUDIES[name])), "write it with: make records"


def test_the_page_of_results_is_of_the_default_and_another_figure_changes_it():
    page, summary = PAGE.read_text(encoding="utf-8"), summary_of(DEFAULT)
    assert update_page(page, summary) == page
    changed = copy.deepcopy(summary)
    changed["data"]["amazon-beauty"]["systems"]["joint/calibrated"]["served"]["mean"] = 0.123
    assert "+.123 [" in update_page(page, changed)
    assert "+.123 [" not in page
