"""A shadow is compared and counted, never shown; it drops what it has no time for, and its failures stay its own."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from threading import Event

import pytest

from multitudes.api import Candidate
from multitudes.release.store import ReleaseStore
from multitudes.retrieval.request import Degradation, Request, Shortfall
from multitudes.retrieval.response import Recommendation
from multitudes.retrieval.retriever import Retriever
from multitudes.retrieval.search import StageTimer
from multitudes.service.engine import Engine
from multitudes.service.shadow import Comparison, Shadow
from tests.release.small_release import publish_small
from tests.retrieval.planted import publish_planted


def shown(*items: int) -> Recommendation:
    rows = [Candidate(item, None, 1.0, rank, "popular", None, None, ()) for rank, item in enumerate(items, 1)]
    return Recommendation("ann", "1", tuple(rows), ())


class Played:
    """A shadow's retriever that answers the same items to everybody, or fails."""

    def __init__(self, *items: int):
        self.items: tuple[int, ...] = items
        self.error: Exception | None = None
        self.now_s = 0.0
        self.began, self.go = Event(), Event()
        self.go.set()

    def answer(
        self, requests: Sequence[Request], *, degradation: Degradation, timer: StageTimer
    ) -> list[Recommendation]:
        assert degradation == Degradation.NONE
        timer("tower")
        self.began.set()
        assert self.go.wait(20)
        self.now_s += 0.25
        if self.error is not None:
            raise self.error
        return [shown(*self.items) for _ in requests]

    def recommend_popular(self, request: Request, shortfall: Shortfall) -> Recommendation:
        raise AssertionError(f"a shadow is not asked for popular items: {request}, {shortfall}")

    def clock(self) -> float:
        return self.now_s


def test_what_differs_is_counted():
    played = Played(1, 2, 9)
    shadow = Shadow(played, clock=played.clock)
    shadow.compare(Request("ann", n=4), shown(1, 2, 3, 4))
    shadow.compare(Request("ann", n=3), shown(9, 1, 2))
    assert shadow.totals() == Comparison(requests=2, candidates=7, common=5, missing=1, seconds=0.5)
    assert shadow.totals().overlap == pytest.approx(5 / 7)
    assert Comparison().overlap == 0


def test_a_failure_is_counted_and_stays_in_the_shadow(caplog):
    played = Played(1)
    played.error = RuntimeError("no tower")
    shadow = Shadow(played)
    shadow.compare(Request("ann"), shown(1))
    assert shadow.totals() == Comparison(errors=1)
    assert caplog.messages == ["the shadow failed"]


def test_what_there_is_no_time_for_is_dropped_at_once():
    played = Played(1)
    played.go.clear()
    shadow = Shadow(played, queue=2, pause=0)
    shadow.start()
    shadow.offer(Request("ann"), shown(1))
    assert played.began.wait(20)
    for _ in range(5):
        shadow.offer(Request("ann"), shown(1))  # two may wait behind the one that hangs
    assert shadow.totals().dropped == 3
    played.go.set()
    shadow.close()
    assert shadow.totals().requests <= 3


def test_an_answer_of_less_effort_says_nothing_of_a_release():
    shadow = Shadow(Played(1))
    shadow.offer(Request("ann"), replace(shown(1), degradation=Degradation.FEWER))
    assert shadow.totals() == Comparison(dropped=1)
    assert shadow._offered.empty()


def test_the_same_release_overlaps_wholly_and_another_one_not_at_all(tmp_path: Path):
    for k in (1, 2):
        publish_planted(tmp_path, k, turned_tower=False, turned_index=False)
    store = ReleaseStore(tmp_path)
    one, same, other = (Retriever.open(store.folder(version)) for version in ("0001", "0001", "0002"))
    overlaps = []
    for behind in (same, other):
        shadow = Shadow(behind)
        engine = Engine(lambda: one, on_answer=shadow.offer)
        [future] = engine.submit([Request("ann", n=5)], 20.0, "interactive")
        engine.step()
        answer = future.result().recommendation
        assert (answer.release, answer.degradation) == ("0001", Degradation.NONE), "none of the shadow is shown"
        offered = shadow._offered.get()
        assert offered is not None
        shadow.compare(*offered)
        overlaps.append(shadow.totals().overlap)
    assert overlaps == [1.0, 0.0]


def test_the_thread_compares_until_it_is_closed(tmp_path: Path):
    publish_small(tmp_path)
    retriever = Retriever.open(tmp_path)
    shadow = Shadow(retriever, pause=0)
    shadow.start()
    shadow.offer(Request("ann", n=5), retriever.recommend("ann", n=5))
    while not shadow.totals().requests:
        pass
    shadow.close()
    assert shadow.totals().overlap == 1.0
    assert not shadow._thread.is_alive()
