"""What waits, times what it costs, against the time there is: by hand, and in an overload that is played through."""

from collections import Counter

import pytest

from multitudes.retrieval.request import Degradation
from multitudes.service.admission import (
    AdmissionConfig,
    AdmissionController,
    Costs,
    Decision,
    Load,
)

IDLE = Load(0.0)
COST_S = {Degradation.NONE: 0.010, Degradation.FEWER: 0.004, Degradation.CACHED: 0.002, Degradation.POPULAR: 0.0001}


def admission(**settings) -> AdmissionController:
    made = AdmissionController(AdmissionConfig(headroom=1.0, probe_every_s=1e9, **settings), Costs(), 0.0)
    for effort, cost_s in COST_S.items():
        made.costs.record(effort, 10, 10 * cost_s)
    return made


@pytest.mark.parametrize(
    ("ahead_s", "effort"),
    [
        (0.089, Degradation.NONE),
        (0.091, Degradation.FEWER),
        (0.097, Degradation.CACHED),
        (0.099, Degradation.POPULAR),
        (50.0, Degradation.POPULAR),  # which does not wait for the others
    ],
)
def test_the_greatest_effort_that_fits_is_made(ahead_s, effort):
    assert admission().decide(Load(ahead_s), 0.1, "interactive", 1.0) == Decision(effort)


def test_lag_a_full_queue_company_and_headroom_lower_the_effort():
    assert admission().decide(Load(0.0, lag_s=0.091), 0.1, "interactive", 1.0).degradation == Degradation.FEWER
    refused = admission().decide(Load(0.0, lag_s=0.25), 0.1, "interactive", 1.0)
    assert refused.degradation is None
    assert refused.retry_after_s == pytest.approx(0.25 + 0.010)
    assert admission().decide(IDLE, 0.0, "interactive", 1.0).degradation is None, "no time is left at all"
    assert admission().decide(Load(0.0, queue_full=True), 0.1, "interactive", 1.0).degradation == Degradation.POPULAR
    for late in (Load(0.0, queue_full=True), Load(0.0, lag_s=0.25)):
        assert admission().decide(late, 0.1, "batch", 1.0).degradation is None
    assert admission().decide(IDLE, 0.1, "interactive", 1.0, requests=10).degradation == Degradation.NONE
    assert admission().decide(IDLE, 0.1, "interactive", 1.0, requests=11).degradation == Degradation.FEWER
    careful = AdmissionController(AdmissionConfig(headroom=0.5), admission().costs, 0.0)
    assert careful.decide(Load(0.039), 0.1, "interactive", 0.0).degradation == Degradation.NONE
    assert careful.decide(Load(0.041), 0.1, "interactive", 0.0).degradation == Degradation.FEWER


def test_batch_work_gives_way_first_and_is_never_made_less():
    some = admission(batch_share=0.5)
    assert some.decide(Load(0.039), 0.1, "batch", 1.0) == Decision(Degradation.NONE)
    refused = some.decide(Load(0.045), 0.1, "batch", 1.0)
    assert refused.degradation is None
    assert refused.retry_after_s == pytest.approx(0.045 + 0.010 - 0.05), "when it would fit, if nothing else came"
    assert some.decide(Load(0.045), 0.1, "interactive", 1.0).degradation == Degradation.NONE, "the control"


def test_costs_follow_what_is_measured_and_never_grow_with_less_effort():
    costs = Costs(smoothing=0.5)
    assert costs.cost_s(Degradation.NONE) == 0.0
    costs.record(Degradation.NONE, 2, 0.020)
    assert [costs.cost_s(effort) for effort in Degradation] == pytest.approx([0.010, 0.005, 0.0025, 0.0])
    costs.record(Degradation.NONE, 1, 0.030)
    assert costs.cost_s(Degradation.NONE) == pytest.approx(0.020)
    costs.record(Degradation.FEWER, 1, 9.0)
    assert costs.cost_s(Degradation.FEWER) == costs.cost_s(Degradation.NONE)


def test_a_large_batch_says_more_of_the_cost_than_a_small_one():
    costs = Costs(smoothing=0.5)
    costs.record(Degradation.NONE, 16, 0.032)
    costs.record(Degradation.NONE, 1, 0.005)  # alone, which is dearer: it says nothing of a crowd
    assert costs.cost_s(Degradation.NONE) == pytest.approx((0.5 * 0.032 + 0.005) / (0.5 * 16 + 1))
    costs.record(Degradation.NONE, 1, 0.004, reset=True)
    assert costs.cost_s(Degradation.NONE) == 0.004


def test_after_a_hiccup_a_probe_brings_full_answers_back():
    made = AdmissionController(AdmissionConfig(headroom=1.0, probe_every_s=1.0), Costs(), 0.0)
    made.costs.record(Degradation.NONE, 1, 5.0)
    made.costs.record(Degradation.FEWER, 1, 0.004)
    assert made.decide(IDLE, 0.1, "interactive", 0.5) == Decision(Degradation.FEWER)
    assert made.decide(Load(0.06), 0.1, "interactive", 1.5).degradation == Degradation.FEWER, "not while much waits"
    assert made.decide(IDLE, 0.1, "interactive", 1.5) == Decision(Degradation.NONE, probe=True)
    assert made.decide(IDLE, 0.1, "interactive", 1.6).degradation == Degradation.FEWER, "one probe in a second"
    made.costs.record(Degradation.NONE, 1, 0.010, reset=True)
    assert made.decide(IDLE, 0.1, "interactive", 1.7) == Decision(Degradation.NONE)


def test_less_is_made_when_the_time_has_run_short():
    made = admission()
    assert [made.least_degradation(Degradation.NONE, left) for left in (0.011, 0.005, 0.003, 0.001, -1.0)] == [
        Degradation.NONE, Degradation.FEWER, Degradation.CACHED, Degradation.POPULAR, Degradation.POPULAR,
    ]  # fmt: skip
    assert made.least_degradation(Degradation.CACHED, 1.0) == Degradation.CACHED, "never more than was promised"


def overloaded(
    made: AdmissionController | None, times_capacity: float, deadline_s: float = 0.1
) -> tuple[list[float], Counter[str]]:
    """Play ten seconds of requests that come evenly to one worker; return the times they took, and their efforts."""
    now, free_s, took, efforts = 0.0, 0.0, [], Counter[str]()
    for i in range(int(10 * times_capacity / COST_S[Degradation.NONE])):
        now = i * COST_S[Degradation.NONE] / times_capacity
        load = Load(max(0.0, free_s - now))
        decision = Decision(Degradation.NONE) if made is None else made.decide(load, deadline_s, "interactive", now)
        if decision.degradation is None:
            efforts["refused"] += 1
            continue
        efforts[decision.degradation.label] += 1
        if decision.degradation == Degradation.POPULAR:
            took.append(COST_S[Degradation.POPULAR])
            continue
        free_s = max(free_s, now) + COST_S[decision.degradation]
        took.append(free_s - now)
    return took, efforts


def test_an_overload_is_answered_in_time_and_without_admission_the_wait_grows_without_end():
    took, efforts = overloaded(admission(), 5)
    assert max(took) <= 0.1
    assert efforts["refused"] == 0, "everybody gets something"
    assert efforts["popular"] < 0.3 * efforts.total(), "less effort makes room for most"
    calm, at_ease = overloaded(admission(), 0.9)
    assert at_ease == {"full": len(calm)}
    hopeless, _ = overloaded(None, 5)
    assert hopeless[-1] > 30, "the control: who comes last waits for half a minute"
