"""What is measured is what happened: efforts, causes, sources, empty slots, overlap, stages, what a client shed."""

from collections import Counter
from dataclasses import replace

import pytest

from multitudes.retrieval.request import CAUSES, Degradation, Request
from multitudes.service.app import create_app
from multitudes.service.engine import FAILED
from multitudes.service.metrics import Metrics
from tests.service.conftest import ask

USER = {"user_id": "ann", "n": 4}


def value(measures: Metrics, name: str, **labels: str) -> float:
    """Return a sample, 0 where there is none."""
    return measures.registry.get_sample_value(f"multitudes_{name}", labels) or 0.0


def test_an_answer_is_counted_by_what_it_holds_and_no_overlap_is_within_a_kind(deps, retriever):
    # Without a history, her topic and popular items take turns.
    [answer] = retriever.answer([Request(followed_topics=["Drama"], n=30)])
    deps.metrics.record_answer(answer, 30)
    sources = Counter(candidate.source for candidate in answer.candidates)
    assert len(sources) > 1, "else nothing is told apart"
    for source, count in sources.items():
        assert value(deps.metrics, "candidates_total", source=source) == count
    assert value(deps.metrics, "slots_total") == 30
    assert value(deps.metrics, "empty_slots_total") == 30 - len(answer.candidates) > 0, "the world has 20 items"
    kinds = {interest.number: interest.kind for interest in answer.interests}
    both = [c for c in answer.candidates if {kinds[k] for k in c.found_by} >= {"implicit", "explicit"}]
    assert value(deps.metrics, "overlapping_candidates_total") == len(both)
    for kind in set(kinds.values()):
        interests = [number for number in kinds if kinds[number] == kind]
        brought = sum(candidate.interest in interests for candidate in answer.candidates)
        assert value(deps.metrics, "interest_candidates_count", kind=kind) == len(interests)
        assert value(deps.metrics, "interest_candidates_sum", kind=kind) == brought
    [answer] = retriever.answer([Request("ann", n=4)])
    first, second, third = (
        replace(answer.interests[0], number=n, kind=k) for n, k in enumerate(("implicit", "implicit", "explicit"))
    )
    one = answer.candidates[0]._replace(interest=0)
    found = [one._replace(found_by=by) for by in ((0,), (0, 1), (1, 2), (0, 1, 2), ())]
    odd = replace(answer, interests=(first, second, third), candidates=tuple(found))
    deps.metrics.record_answer(odd, 5)
    assert value(deps.metrics, "overlapping_candidates_total") == 2


def test_efforts_are_told_apart_and_each_lesser_one_has_its_cause(deps, retriever):
    for effort in (Degradation.NONE, Degradation.FEWER, Degradation.CACHED, Degradation.POPULAR):
        [answer] = retriever.answer([Request("ann", n=2)], degradation=effort)
        deps.metrics.record_answer(answer, 2)
    efforts = {label: value(deps.metrics, "answers_total", degradation=label) for label in ("full", "fewer", "popular")}
    assert efforts == {"full": 1, "fewer": 1, "popular": 2}, "nobody was remembered, so cached is popular"
    assert value(deps.metrics, "degraded_total", cause="time") == 3


def test_each_answer_that_lacks_something_is_counted_by_its_cause(deps, retriever):
    asked = {
        "time": (Request("ann"), Degradation.POPULAR),
        "unknown": (Request("nobody"), Degradation.NONE),
        "few": (Request(history=(), followed_topics=("Drama",), n=15), Degradation.NONE),
        "state": (Request("ann", state_error="the store is away"), Degradation.NONE),
    }
    answers = {cause: retriever.answer([one], degradation=effort)[0] for cause, (one, effort) in asked.items()}
    answers["failed"] = retriever.recommend_popular(Request("ann"), FAILED)
    assert set(answers) == set(CAUSES)
    for cause, answer in answers.items():
        deps.metrics.record_answer(answer, 2)
        assert value(deps.metrics, "degraded_total", cause=cause) == 1, answer.reason
    [whole] = retriever.answer([Request("ann", n=2)])
    deps.metrics.record_answer(whole, 2)
    assert sum(value(deps.metrics, "degraded_total", cause=cause) for cause in CAUSES) == len(CAUSES), "the control"


def test_a_request_says_where_its_time_went_and_what_was_not_known(call, deps):
    body = {"history": [101, 999], "followed_topics": ["Nothing"], "n": 2}
    record = call("POST", "/v1/recommend", json=body).json()
    measures = deps.metrics
    assert (record["unknown_items"], record["unknown_topics"]) == ([999], ["Nothing"])
    assert (value(measures, "unknown_items_total"), value(measures, "unknown_topics_total")) == (1, 1)
    for stage in [*record["timings_ms"], "json"]:
        assert value(measures, "stage_seconds_count", stage=stage) == 1, stage
    assert {"state", "wait", "log"} <= set(record["timings_ms"])
    assert value(measures, "request_seconds_count", route="/v1/recommend") == 1
    call("POST", "/v1/recommend/batch", json={"requests": [USER, USER]})
    assert value(measures, "answers_total", degradation="full") == 3
    assert value(measures, "requests_in_flight") == 0


def test_a_request_that_is_answered_counts_as_in_flight(deps):
    seen = []
    answer = deps.engine.answer

    def looking(*given):
        seen.append(value(deps.metrics, "requests_in_flight"))
        return answer(*given)

    deps.engine.answer = looking
    ask(create_app(deps), "POST", "/v1/recommend", json=USER)
    assert seen == [1]


def test_names_and_units_are_those_of_prometheus_and_no_label_is_an_id():
    labels = {"route", "method", "status", "work", "reason", "stage", "degradation", "cause", "source", "kind"}
    labels |= {"outcome", "call", "log", "release", "version", "key"}
    found = list(Metrics().registry.collect())
    assert len(found) > 40
    for family in found:
        assert family.name.startswith("multitudes_")
        assert family.documentation.endswith("."), family.name
        assert not family.name.endswith(("_ms", "_mb", "_total")), family.name
        for sample in family.samples:
            assert set(sample.labels) <= labels | {"le"}, family.name


@pytest.mark.parametrize("name", ["answers_total", "degraded_total", "state_errors_total", "log_lost_rows_total"])
def test_what_can_go_wrong_begins_at_nothing(name):
    """Else the first failure is no increase, and no alert sees it."""
    samples = [s for family in Metrics().registry.collect() for s in family.samples if s.name == f"multitudes_{name}"]
    assert samples
    assert {sample.value for sample in samples} == {0.0}
