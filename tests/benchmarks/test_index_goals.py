import pytest
from benchmarks.index import requests
from benchmarks.index.goals import LARGE, Goal, at_recall, goals, verdict_text, verdicts

SPREAD = {"median": 1.0, "min": 1.0, "max": 1.0, "repeats": 1}


def asked(ms, recall=1.0):
    times = {p: {**SPREAD, "median": ms} for p in ("p50", "p90", "p99")}
    return {"ms": times, "cpu_ms": times, "recall": recall}


def parts(unseen_ms=1.2, recall=0.98):
    ways = (requests.IN_FULL, requests.SHARED, requests.ALONE, requests.ALL_DEEP)
    figures = {way + bare: asked(1.0, recall) for way in ways for bare in ("", requests.BARE)}
    return {"requests": {**figures, requests.UNSEEN: asked(unseen_ms)}}


@pytest.mark.parametrize(
    ("limit", "at_most", "value", "text"),
    [
        (1.2, True, 1.2, "reached"),
        (1.2, True, 1.5, "**missed by 25%**"),
        (0.97, False, 0.99, "reached"),
        (1.0, False, 0.9995, "**missed by 0.05%**"),
        (2.0, False, 1.0, "**missed by 50%**"),
    ],
)
def test_a_goal_is_reached_or_missed_by_a_share_of_its_limit(limit, at_most, value, text):
    assert verdict_text(Goal("", limit, "", at_most, lambda _, __: None), value) == text


def test_a_slow_exclusion_misses_its_goal_and_a_fast_one_does_not():
    name = f"{requests.UNSEEN}: time without"
    assert str(verdicts(parts(unseen_ms=1.2), 1_000)[name]) == "reached (1.2 ×)"
    assert str(verdicts(parts(unseen_ms=2.6), 1_000)[name]) == "**missed by 100%** (2.6 ×)"


def test_both_clocks_are_judged_where_they_differ():
    figures = parts()
    figures["requests"][requests.UNSEEN]["ms"] = asked(3.9)["ms"]
    assert str(verdicts(figures, 1_000)[f"{requests.UNSEEN}: time without"]) == (
        "**missed by 200%** (3.9 ×); CPU reached (1.2 ×)"
    )


def test_the_worst_recall_of_any_limit_counts():
    figures = parts(recall=0.99)
    figures["requests"][requests.SHARED]["recall"] = 0.95
    assert "missed" in str(verdicts(figures, 1_000)["recall, whatever the limit"])


def test_what_was_not_measured_has_no_verdict():
    assert not any(name.startswith(("topic", "opened", "built")) for name in verdicts(parts(), 1_000))
    assert verdicts({}, 1_000) == {}


def test_a_minute_is_asked_of_a_million_and_memory_of_ten():
    small, large = ({goal.name for goal in goals(items)} for items in (LARGE // 10, LARGE))
    assert (small - large, large - small) == ({"built and tuned"}, {"memory of the build"})


def test_two_curves_are_compared_where_they_cross_the_recall():
    curve = [{**asked(ms, recall)} for ms, recall in ((1.0, 0.9), (3.0, 1.0))]
    assert at_recall(curve, 0.95, "ms") == pytest.approx(2)
    assert at_recall(curve[:1], 0.95, "ms") is None
    twice = [{**asked(2 * ms, recall)} for ms, recall in ((1.0, 0.9), (3.0, 1.0))]
    (verdict,) = verdicts({"curve": {"ours": twice, "faiss": curve}}, 1_000).values()
    assert str(verdict) == "**missed by 67%** (2 ×)"
