"""The page and the tables of an evaluation contain its result and nothing else; the page is self-contained."""

import io
import json

import pytest
from rich.console import Console

from multitudes.errors import ArtefactError
from multitudes.evaluation.config import EvaluateConfig
from multitudes.evaluation.evaluate import evaluate, save
from multitudes.report.document import to_terminal
from multitudes.report.evaluation_page import evaluation_blocks, write_evaluation_page
from multitudes.report.evaluation_tables import comparison_table, evaluation_tables
from multitudes.report.formatting import (
    NOT_COMPARED,
    format_difference,
    format_interval,
    format_number,
    informative_systems,
    negate,
    remarks,
    verdicts,
)
from multitudes.report.html_elements import html_page
from multitudes.retrieval.config import RetrieveConfig
from tests.evaluation.worlds import FakeRun, prepared
from tests.report.markup import assert_it_asks_for_nothing_from_outside_and_runs_no_script, assert_well_formed, text_of

EPOCHS = [
    {
        "epoch": e,
        "step": e * 9,
        "loss": {"implicit": 5.0 - e},
        "validation_hit_rate": 0.1234 * e,
        "validate_at": 100,
        "seconds": e * 7.0,
    }
    for e in (1, 2)
]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Return an evaluated run of four users."""
    folder = tmp_path_factory.mktemp("run")
    data = prepared(
        folder,
        past=[[1, 2], [1, 3], [1, 2, 3], [4]],
        future=[[5, 6, 1], [7, 8, 1], [9, 10, 1], [4]],
        topics=[[item % 3 + 1] for item in range(12)] + [[4]],
        follows=[[1], [2], [3], [4]],
    )
    fake = FakeRun(folder, data, [[5, 6], [7, 8], [9, 11], [4, 1]])
    config = EvaluateConfig(budgets=(2, 4))
    save(evaluate(fake, config, RetrieveConfig(blend="round_robin", unconditioned_share=0, explicit_share=0)), folder)
    (folder / "metrics.jsonl").write_text("\n".join(map(json.dumps, EPOCHS)))
    return folder


@pytest.fixture(scope="module")
def result(run):
    return json.loads((run / "evaluation-test.json").read_text())


def evaluation_page(result, epochs):
    return html_page("run", evaluation_blocks(result, epochs))


@pytest.fixture(scope="module")
def page(result):
    return evaluation_page(result, EPOCHS)


def test_the_page_is_well_formed_asks_for_nothing_and_has_its_training(page, result):
    assert_it_asks_for_nothing_from_outside_and_runs_no_script(page)
    assert page.count("<svg") >= 3
    assert_well_formed(page)
    assert "best epoch 2 with validation HR@100 .247" in page
    assert "Training" not in text_of(evaluation_page(result, []))


def test_every_figure_in_the_table_is_that_of_the_result(page, result):
    for figures in result["methods"].values():
        if "hr@4" in figures:
            assert format_interval(figures["hr@4"]) in page
    for figures in result["differences"].values():
        if "hr@4" in figures:
            assert format_difference(negate(figures["hr@4"])) in page


def printed(result, width):
    stream = io.StringIO()
    Console(file=stream, width=width).print(evaluation_tables(result, width))
    return " ".join(stream.getvalue().split())


@pytest.mark.parametrize(
    ("gain", "verdict"),
    [
        ({"mean": -0.1, "low": -0.2, "high": -0.05}, "finds less than the strongest baseline, ials"),
        ({"mean": -0.1, "low": -0.2, "high": 0.05}, "is not shown to differ from the strongest baseline, ials"),
        ({"mean": 0.1, "low": 0.05, "high": 0.2}, "finds more than the strongest baseline, ials"),
    ],
)
def test_page_and_terminal_lead_with_the_strongest_baseline(result, gain, verdict):
    changed = json.loads(json.dumps(result))
    changed["strongest_baseline"] = "ials"
    changed["differences"]["ials"]["hr@4"] = gain
    for text in (text_of(evaluation_page(changed, EPOCHS)), printed(changed, 300)):
        assert f"{verdict} (" in text
        assert f": clustering − ials {format_difference(gain)}, paired by user." in text
    page = text_of(evaluation_page(changed, EPOCHS))
    assert page.index(verdict) < page.index("HR@4")


def test_the_verdict_is_on_the_strongest_system_whatever_it_is(result):
    changed = json.loads(json.dumps(result))
    changed["strongest_baseline"] = "popularity"
    changed["methods"]["random_partition"]["hr@4"]["mean"] = 0.99
    first, second = verdicts(changed, "clustering")
    assert "the strongest system beside it, random_partition (.990" in first
    assert "the strongest baseline, popularity (" in second
    changed["methods"]["popularity"]["hr@4"]["mean"] = 0.995
    (only,) = verdicts(changed, "clustering")
    assert "the strongest system beside it, popularity (.995" in only


def test_a_reranker_that_leaves_the_list_of_one_vector_as_it_is_has_no_row(result):
    changed = json.loads(json.dumps(result))
    changed["methods"]["unconditioned"] = changed["methods"]["ials"]
    moved = result["methods"]["ials"] | {"hr@4": {"mean": 0.99, "low": 0.9, "high": 1.0}}
    changed["methods"] |= {"mmr": result["methods"]["ials"], "dpp": moved}
    changed["differences"] |= dict.fromkeys(("mmr", "dpp"), result["differences"]["ials"])
    changed["rerankers"] = {"mmr": [0.0, 0.0], "dpp": [0.0, 0.05]}
    assert {"mmr", "dpp"} & {*informative_systems(changed)} == {"dpp"}
    absent = [remark for remark in remarks(changed) if "λ" in remark]
    assert absent == ["mmr is absent: any λ above 0 costs more than 1 % of the hits; with 0 its list is one vector's."]


def test_a_system_with_the_same_lists_is_not_compared(result):
    """In this world the random partition has the run's own vectors; one figure that differs makes it comparable."""
    for text in (text_of(evaluation_page(result, EPOCHS)), printed(result, 300)):
        assert "random_partition" in text
        assert NOT_COMPARED in text
    alone = json.loads(json.dumps(result))
    alone["strongest_baseline"] = None
    alone["differences"] = {"random_partition": alone["differences"]["random_partition"]}
    assert verdicts(alone, "clustering") == [f"clustering − random_partition: {NOT_COMPARED}."]
    alone["methods"]["random_partition"]["kl@4"]["mean"] += 0.1
    assert verdicts(alone, "clustering")[0].startswith("clustering finds the same as the strongest system beside it")


@pytest.mark.parametrize(
    ("served", "words"),
    [
        ({"mean": 0.1, "low": 0.05, "high": 0.2}, "clustering serves more of a user's interests than ials: +.100 ["),
        ({"mean": -0.1, "low": -0.2, "high": -0.05}, "clustering serves less of a user's interests than ials: -.100 ["),
        (
            {"mean": 0.1, "low": -0.1, "high": 0.2},
            "clustering is not shown to serve more or less of a user's interests",
        ),
    ],
)
def test_the_verdict_says_whether_more_interests_are_served(result, served, words):
    changed = json.loads(json.dumps(result))
    changed["strongest_baseline"] = "ials"
    changed["differences"]["ials"]["served@4"] = served
    assert words in verdicts(changed, "clustering")[-1]


def test_a_system_that_repeats_popularity_is_left_out(result):
    changed = json.loads(json.dumps(result))
    main = {key: figure for key, figure in changed["methods"]["popularity"].items() if key.endswith("@4")}
    changed["methods"]["followed_topics"], changed["all_targets"] = main, None
    assert "followed_topics" in informative_systems(result)
    assert informative_systems(changed) == [m for m in informative_systems(result) if m != "followed_topics"]
    nobody = changed | {"interests": {"empty_topics": {"mean": 1.0}}, "methods": {"explicit": main} | result["methods"]}
    assert informative_systems(nobody) == informative_systems(result)
    assert "followed_topics" not in text_of(evaluation_page(changed, EPOCHS))
    assert "followed_topics" not in printed(changed, 300)


def test_what_returning_seen_items_gains_is_said_and_every_system_of_all_targets_is_explained(result):
    changed = json.loads(json.dumps(result))
    block = changed["all_targets"]
    block["methods"]["with_repeats"] = block["methods"]["own_history"]
    for low, high, is_better in ((-0.2, -0.1, True), (-0.2, 0.1, False), (0.1, 0.2, False)):
        figure = {"mean": (low + high) / 2, "low": low, "high": high}
        block["differences"]["with_repeats"] = block["differences"]["own_history"] | {"hr@4": figure}
        for text in (text_of(evaluation_page(changed, EPOCHS)), printed(changed, 300)):
            assert ("With exclude_seen=false the run finds" in text) == is_better
            assert "own items again, newest first" in text


def test_an_absent_baseline_is_named_with_its_reason(result):
    changed = json.loads(json.dumps(result))
    changed["baselines"]["ease"] = {"absent": "too many items"}
    for text in (text_of(evaluation_page(changed, EPOCHS)), printed(changed, 300)):
        assert "ease is absent: too many items." in text


def test_a_run_that_was_not_evaluated_is_refused_with_the_command(tmp_path):
    with pytest.raises(ArtefactError, match="make it with: multitudes evaluate"):
        write_evaluation_page(tmp_path, tmp_path / "report.html")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("width", [60, 80, 120, 140, 160])
def test_tables_fit_the_terminal_and_cut_no_figure(result, width):
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(evaluation_tables(result, width))
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    for figures in result["methods"].values():
        assert width < 80 or "hr@4" not in figures or format_interval(figures["hr@4"]) in text
    assert all(name in text for name in informative_systems(result)), "no name is broken"


def test_a_comparison_names_both_sides_and_stars_what_excludes_zero():
    shown = {"mean": 0.1, "low": 0.05, "high": 0.15}
    unsure = {"mean": 0.1, "low": -0.05, "high": 0.25}
    comparison = {"runs": ["a"], "against": ["b", "c"], "differences": {"new": {"hr@2": shown, "ndcg@2": unsure}}}
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(to_terminal(comparison_table(comparison), 80))
    text = console.export_text()
    assert "a − b + c" in text
    assert "+.100 [.050, .150] *" in text
    assert "+.100 [-.050, .250] *" not in text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.2186, ".219"), (-0.004, "-.004"), (1.5, "1.500"), (0.0, ".000"), (None, "–"), (0.9999, "1.000")],
)
def test_numbers_are_written_as_in_the_field(value, text):
    assert format_number(value) == text


def test_axe_finds_nothing_serious(check_page, page):
    check_page(page, "dark")  # the other reports, in light, have the same colours
