import copy

import pytest
from benchmarks.service import page as page_module
from benchmarks.service.goals import verdicts
from benchmarks.service.page import page
from benchmarks.service.picture import REST, cpu_ms, draw, wall_ms
from benchmarks.service.run import STAGE
from benchmarks.service.stage_costs import STAGES
from benchmarks.timing import spread


def method(ms):
    """Return the figures of a method whose requests take so long."""
    return {
        **{name: spread([ms]) for name in ("p50_ms", "p90_ms", "p99_ms", "cpu_ms")},
        **{name: spread([1e3 / ms]) for name in ("per_s", "per_cpu_s")},
        **{STAGE + stage: spread([0.1]) for stage in ("state", "wait", "search")},
        "errors": 0.0,
        "degraded": 0.0,
        "ready_s": 2.0,
        "ready_cpu_s": 1.0,
        "index_mib": 300.0,
        "memory_mib": {"all": 360.0, "own": 100.0, "files": 260.0},
        "inside_cpu_ms": {
            "stages": {stage: spread([0.2]) for stage in STAGES},
            "all": spread([0.2 * len(STAGES)]),
            "answer_bytes": 2_048,
        },
    }


@pytest.fixture
def record():
    names = ("p50_ms", "p90_ms", "p99_ms", "cpu_ms", "per_s", "per_cpu_s")
    return {
        "sizes": {"items": 1_000_000},
        "plan": {"n": 200, "rate": 100.0, "clients": 16, "seconds": 10.0, "rounds": 1},
        "cores": {"service": [0, 1], "load": [0, 1]},
        "when": "2030-01-01 00:00 UTC",
        "machine": {"cpu": "a processor", "cores": 2, "memory_gib": 8, "os": "Linux"},
        "load": {"before": 0.1, "after": 1.0},
        "versions": {"python": "3.11"},
        "seeds": [0],
        "figures": {
            "methods": {"single": method(5.0), "joint": method(6.0)},
            "joint_over_single": {name: spread([1.2 if name.endswith("ms") else 1 / 1.2]) for name in names},
        },
    }


def said(record):
    return {verdict.goal.name: str(verdict) for verdict in verdicts(record["figures"])}


def test_twelve_vectors_that_take_a_fifth_longer_miss_the_goal_and_ones_that_take_as_long_do_not(record):
    assert said(record)["p90, twelve vectors to one"] == "**missed by 9%** (1.2 ×)"
    assert said(record)["CPU of a request, twelve vectors to one"] == "reached (1.2 ×)"
    assert said(record)["own memory, of the files of the index"] == "reached (0.333 ×)"
    even = copy.deepcopy(record)
    for name in ("p90_ms", "cpu_ms"):
        even["figures"]["joint_over_single"][name] = spread([1.0])
    assert said(even)["p90, twelve vectors to one"] == "reached (1 ×)"


def test_what_no_stage_explains_is_http_and_threads(record):
    one = record["figures"]["methods"]["joint"]
    assert cpu_ms(one)[REST] == pytest.approx(6.0 - 0.2 * len(STAGES))
    assert wall_ms(one) == {"state": 0.1, "wait": 0.1, "search": 0.1}


def test_the_page_has_every_table_and_says_when_others_were_at_work(record):
    text = page([record])
    assert all(f"### {head}" in text for head in ("Goals", "Under load", "Where the time goes", "The process"))
    assert "nan" not in text
    assert "Others were at work" not in text
    record["load"]["before"] = 6.0
    assert "Others were at work" in page([record])


def test_without_a_run_the_page_has_no_figure_and_no_picture():
    text = page([])
    assert "No run is kept yet." in text
    assert "](images/" not in text
    assert "###" not in text


def test_goals_are_for_a_million_items_under_the_load_that_was_asked_for(record):
    assert "### Goals" in page([record]), "control"
    fewer, calmer = copy.deepcopy(record), copy.deepcopy(record)
    fewer["sizes"]["items"], calmer["plan"]["rate"] = 100_000, 40.0
    text = page([fewer, calmer])
    assert "### Goals" not in text
    assert "## 100,000 items, 100 requests a second" in text
    assert "## 1,000,000 items, 40 requests a second" in text


def test_a_run_of_several_processes_says_so(record):
    several = copy.deepcopy(record)
    several["plan"]["workers"] = 2
    text = page([record, several])
    assert "## 1,000,000 items, 100 requests a second\n" in text, "as runs were kept before"
    assert "## 1,000,000 items, 100 requests a second, 2 processes\n" in text


def test_the_picture_names_the_stages(record, tmp_path):
    draw([record], tmp_path / page_module.PICTURE)
    text = (tmp_path / f"{page_module.PICTURE}.svg").read_text()
    assert text.startswith("<svg")
    assert REST in text
