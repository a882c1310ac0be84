"""The page and the sentences of a study follow from its summary; the page is self-contained."""

import json
import re
from typing import Any

import numpy as np
import pytest

from multitudes.report.formatting import format_difference, format_interval
from multitudes.report.study_figures import (
    PALETTE,
    MethodStyles,
    budget_chart,
    critical_difference_diagram,
    difference_chart,
    segment_charts,
)
from multitudes.report.study_page import study_page, write_study_page
from multitudes.report.study_sentences import (
    beats_controls,
    conclusion,
    describe_data,
    describe_split,
    explain_verdicts,
    headlines,
)
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


def test_the_page_asks_for_nothing_from_outside_and_runs_no_script(page):
    assert_it_asks_for_nothing_from_outside_and_runs_no_script(page)
    # Each data set: differences, two curves, four segmentations, hits by source; and the ranks.
    assert page.count("<svg") == 2 * 8 + 1


def test_the_page_is_well_formed_and_its_links_lead_somewhere(page):
    assert_well_formed(page)
    assert set(re.findall(r'href="#(\w+)"', page)) == set(re.findall(r'<h2 id="(\w+)"', page))


def test_the_sections_stand_in_the_order_in_which_a_sceptic_asks(page):
    assert re.findall(r'<h2 id="(\w+)"', page) == ["data", "overall", "curves", "segments", "health", "costs", "record"]


def test_a_name_from_the_study_is_text_and_not_markup(page):
    assert "<odd>" not in page
    assert "&lt;odd&gt;" in page
    assert "second &amp; last" in page


def test_every_hit_rate_and_difference_is_that_of_the_summary(page, summary):
    shown = text_of(page)
    for part in summary["data"].values():
        for found in part["methods"].values():
            assert format_interval(found["figures"]["hr"]) in shown
            if "hr" in found["minus"]:
                assert format_difference(found["minus"]["hr"], 4).removesuffix(" *") in shown


def test_another_summary_gives_another_page(summary, page):
    def another(copy):
        copy["data"]["first"]["methods"]["joint"]["figures"]["hr"]["mean"] = 0.98765
        copy["costs"]["first"]["joint"]["train_seconds"] = 123456
        copy["failed"][0]["error"] = "killed by a storm"

    shown = text_of(study_page(changed(summary, another)))
    for figure in (".988", "123,456", "killed by a storm"):
        assert figure in shown
        assert figure not in text_of(page)


def test_the_headlines_count_what_was_planted(summary):
    strongest, first, second = headlines(summary)
    assert strongest.startswith("Strongest baseline: popularity on 2 of 2 data sets.")
    assert "joint, single are ahead of it on 2 and behind it on 0 of 2 data sets" in strongest
    assert "Significantly better than single: joint on 2 of 2 data sets." in first
    assert "Significantly worse than single: <odd> on 2 of 2 data sets." in first
    assert second.endswith("joint on 2 of 2 data sets.")

    def doubtful(copy):  # one such difference alone would be shown
        for data_set in copy["data"].values():
            for gain in data_set["strongest_baseline"]["minus"].values():
                gain["p"] = 0.04

    assert "joint, single are ahead of it on 0 " in headlines(changed(summary, doubtful))[0]

    def behind(copy):
        copy["data"]["first"]["strongest_baseline"]["minus"]["joint"]["mean"] *= -1

    assert "joint is ahead of it on 1 and behind it on 1 of 2 data sets" in headlines(changed(summary, behind))[0]

    def level(copy):
        copy["data"]["first"]["controls"]["joint"]["averaged"]["verdict"] = "level"

    assert headlines(changed(summary, level))[2].endswith("joint on 1 of 2 data sets.")


def test_a_baseline_that_beats_the_reference_is_a_headline_before_the_controls(summary):
    def ahead(copy):
        copy["data"]["first"]["methods"]["popularity"]["minus"]["hr"]["verdict"] = "better"

    sentences = headlines(changed(summary, ahead))
    assert sentences[2] == "A baseline beats single: popularity on 1 of 2 data sets."
    assert len(sentences) == 4


def test_a_study_without_trained_controls_has_no_column_of_them(summary, page):
    assert "its trained control</th>" not in page

    def trained(copy):
        gains = copy["data"]["first"]["controls"]["joint"]
        gains["trained_control"] = gains["averaged"]
        copy["wins"]["joint"]["trained_control"] = {"first": "better"}

    assert study_page(changed(summary, trained)).count("− its trained control</th>") == 2


def test_interests_matter_only_if_both_controls_are_beaten():
    better, level = {"verdict": "better"}, {"verdict": "level"}
    assert beats_controls({"random_partition": better, "averaged": better}) is True
    assert beats_controls({"random_partition": better, "averaged": level}) is False
    assert beats_controls({"random_partition": better}) is None


def test_too_few_data_sets_are_named_with_the_number_needed(summary, page):
    said = conclusion(summary["overall"], 0.05)
    assert said.startswith(
        "Too few data sets for a conclusion: a significant difference between any two of 3 methods takes at least 7"
    )
    assert said in text_of(page)
    enough: dict[str, Any] = summary["overall"] | {
        "enough": True,
        "p": {"a": {"b": 0.01}, "b": {"a": 0.01}},
        "ranks": {"a": 1, "b": 2},
    }
    assert conclusion(enough, 0.05) == "On 2 data sets a is ahead of b."
    assert conclusion(enough | {"p": {"a": {"b": 0.2}}}, 0.05) == "On 2 data sets no two methods differ significantly."


def test_the_page_says_how_often_the_test_set_was_accessed_and_what_intervals_cover(summary):
    assert (
        "validation split, which early stopping and tuning also use; the test set was never accessed"
        in describe_split(summary)
    )
    assert "test split; the test set was accessed 3 times" in describe_split(
        summary | {"split": "test", "opened_test": 3}
    )
    assert "and between training seeds." in explain_verdicts(summary)
    assert "not between training seeds" in explain_verdicts(summary | {"seeds": [0]})
    methods = {"a": {"seeds": [0]}, "b": {"seeds": [-1]}}
    part = {"users": 5, "targets": 9, "kind": "new", "budget": 10, "methods": methods, "few_users": False}
    assert "One seed" in describe_data(part)
    assert "too narrow" in describe_data(part | {"few_users": True})
    assert "One seed" not in describe_data(part | {"methods": {"a": {"seeds": [0, 1]}}})


def test_without_the_reference_there_is_no_comparison(tmp_path):
    data = {"first": outcomes(np.random.default_rng(1), {"joint": 0.0, "equal": 0.0})}
    shown = text_of(study_page(summarise(write_study(tmp_path, data), Resampling(100, 100))))
    assert "The reference single has no figure here." in shown
    assert "No comparison" in shown


def test_an_empty_study_has_a_page_that_names_what_failed(tmp_path):
    frame = outcomes(np.random.default_rng(2), {"single": 0.0}).clear()
    study = write_study(tmp_path, {"first": frame}, failed=(("first", "single", 0),))
    assert "killed by signal 9" in study_page(summarise(study, Resampling(100, 100)))


def test_a_chart_without_data_is_left_out(summary):
    part: dict[str, Any] = summary["data"]["first"]
    look = MethodStyles({"single": 0, "joint": 1})
    assert budget_chart(part, look) is not None
    assert budget_chart(part | {"budgets": [100]}, look) is None
    assert len(segment_charts(part, "single", look)) == 4
    assert difference_chart(part, "single") is not None
    assert difference_chart(part | {"methods": {"single": part["methods"]["single"]}}, "single") is None
    assert critical_difference_diagram(summary["overall"]) is not None
    assert critical_difference_diagram({"ranks": {"one": 1.0}, "cliques": []}) is None


def test_a_method_keeps_its_look_when_others_are_left_out():
    look = MethodStyles({"single": 0, "joint": 1, "odd": 2})
    assert scale_of(look.subset(["joint"]).colour()) == {"domain": ["joint"], "range": [PALETTE[1]]}
    assert scale_of(look.subset(["joint"]).shape())["range"] == scale_of(look.shape())["range"][1:2]


def scale_of(encoding):
    return encoding.to_dict()["scale"]


def test_the_file_is_written_whole(summary, tmp_path):
    write_study_page(changed(summary), tmp_path / "new" / "report.html")
    assert (tmp_path / "new" / "report.html").read_text().endswith("</html>\n")
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["report.html"]


def test_axe_finds_nothing_serious(check_page, page):
    check_page(page)
