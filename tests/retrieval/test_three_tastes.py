"""Three tastes in three events: what one vector leaves out, and what calibration, mutes and sliders give each.

Items 1 … 30 are of the first taste, along the first axis, 31 … 60 of the second, 61 … 90 of the third. The vector of
the whole history is nearly the newest event; every event is an interest of its own, 1 the newest.
"""

from itertools import permutations
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from multitudes import api
from multitudes.errors import UsageError
from multitudes.explorer.explorer import Explorer
from multitudes.index.protocol import Topics
from multitudes.retrieval.request import Request
from multitudes.retrieval.retriever import Retriever
from tests.release.small_release import publish_small, tower_of

ITEMS, LENGTH, N = 30, 3, 20  # of a taste; of a history; of a list
TASTE = np.repeat([0, 1, 2], ITEMS)
VECTORS = (np.tile(np.linspace(1, 0.5, ITEMS), 3)[:, None] * np.eye(3)[TASTE]).astype(np.float32)
KINDS = ("unconditioned", "implicit", "implicit", "implicit", "explicit")
ORDERS = [list(order) for order in permutations([1, 31, 61])]  # histories, newest last: the best item of each taste


def user_tower() -> onnx.ModelProto:
    """Make the tower: each vector is a sum of events, newest first."""
    sums = np.array([[0.9, 0.05, 0.05], [1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0]], dtype=np.float32)
    constants = {"sums": sums, "axis": np.array([2]), "one": np.array([1]), "zero": np.array(0, np.float32)}
    constants |= {"interest": np.array([[1, 2, 3]]), "none": np.array(-1)}
    nodes = [
        helper.make_node("Cast", ["valid_BL"], ["valid"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["valid", "axis"], ["valid_BL1"]),
        helper.make_node("Mul", ["input_BLD", "valid_BL1"], ["event_BLD"]),
        helper.make_node("MatMul", ["sums", "event_BLD"], ["vectors_BKD"]),
        helper.make_node("ReduceMax", ["valid", "one"], ["any"], keepdims=1),
        helper.make_node("Cast", ["topic_BC"], ["topic"], to=TensorProto.FLOAT),
        helper.make_node("Concat", ["any", "valid", "topic"], ["evidence"], axis=1),
        helper.make_node("Greater", ["evidence", "zero"], ["mask_BK"]),
        helper.make_node("Cast", ["mask_BK"], ["weight_BK"], to=TensorProto.FLOAT),
        helper.make_node("Where", ["valid_BL", "interest", "none"], ["cluster_BL"]),
    ]
    return tower_of(nodes, constants, KINDS, LENGTH, width=3)


def publish(root: Path, taste_centre: np.ndarray) -> Retriever:
    """Publish the world with the shares that training tries, and the tastes of these centres."""
    topics = Topics(np.arange(len(TASTE) + 1), np.repeat([1, 2, 3], ITEMS))
    numbers = {
        "item_input": np.concatenate([np.zeros((1, 3)), VECTORS]),
        "item_topic_offset": np.concatenate([[0], topics.offset]),
        "item_topic": topics.topic,
        "item_count": np.arange(len(TASTE) + 1),
        "item_usable": np.arange(len(TASTE) + 1) > 0,
        "item_taste": np.append(-1, np.minimum(TASTE, len(taste_centre) - 1)),
        "taste_centre": taste_centre,
        "item_repeat_rate": np.zeros(len(TASTE) + 1),
    }
    publish_small(
        root,
        tower=user_tower(),
        data=numbers,
        vectors=VECTORS,
        topics=topics,
        names=("", "Drama", "Crime", "Comedy"),
        first_id=1,
        kinds=KINDS,
        history_length=LENGTH,
        counts={"users": 3, "items": len(TASTE), "topics": 3},
        retrieval={"unconditioned_share": 0.5, "explicit_share": 0.1, "topics_per_request": 1, "calibration": 0.8},
    )
    return Retriever.open(root)


@pytest.fixture(scope="module")
def retriever(tmp_path_factory) -> Retriever:
    return publish(tmp_path_factory.mktemp("tastes"), np.eye(3))


def places(candidates) -> list[int]:
    """Return how many of the first candidates are of each taste."""
    counts: list[int] = np.bincount(TASTE[[one.item_id - 1 for one in candidates[:N]]], minlength=3).tolist()
    return counts


def listed(retriever: Retriever, history: list[int], **wishes) -> list[int]:
    return places(retriever.answer([Request(history=history, n=N, **wishes)])[0].candidates)


@pytest.mark.parametrize("history", ORDERS)
def test_each_of_three_tastes_has_a_fifth_of_the_list_in_any_order_of_events(history, retriever):
    for calibration in (0.5, 0.8):
        assert min(listed(retriever, history, calibration=calibration)) >= N / 5
    assert listed(retriever, history)[TASTE[history[0] - 1]] >= N / 5, "as published"
    assert listed(retriever, history, calibration=0.0)[TASTE[history[-1] - 1]] >= 0.8 * N, "the control"


@pytest.mark.parametrize("calibration", [0.0, 0.8])
def test_a_candidate_is_for_the_interest_whose_events_have_its_taste(calibration, retriever, tmp_path):
    without = publish(tmp_path, np.zeros((0, 3)))
    for history in ORDERS:
        owner = {TASTE[item - 1]: number for number, item in enumerate(reversed(history), start=1)}
        for one in retriever.recommend(history=history, n=N, calibration=calibration).candidates:
            assert (one.interest, one.source) == (owner[TASTE[one.item_id - 1]], "implicit")
        found = without.recommend(history=history, n=N).candidates
        assert 0 in {one.interest for one in found}, "the control: the vector that ranks it best"


def test_of_interests_with_as_many_events_in_a_taste_the_one_that_finds_an_item_best_has_it(tmp_path):
    one_taste = publish(tmp_path, np.ones((1, 3)))
    for history in ORDERS:
        owner = {TASTE[item - 1]: number for number, item in enumerate(reversed(history), start=1)}
        for one in one_taste.recommend(history=history, n=N).candidates:
            assert one.interest == owner[TASTE[int(one.item_id) - 1]]
            assert one.interest in one.found_by


def test_a_followed_topic_keeps_what_it_found_of_a_taste_that_an_interest_owns(retriever):
    for shares, owner in (({4: 1.0}, 4), (None, 2)):  # the control: what the interests find too is theirs
        request = Request(history=ORDERS[0], followed_topics=["Crime"], n=N, interest_shares=shares)
        (answer,) = retriever.answer([request])
        assert {one.interest for one in answer.candidates if TASTE[one.item_id - 1] == 1} == {owner}


@pytest.mark.parametrize("calibration", [0.0, 0.8])
@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_muted_interest_takes_the_items_of_its_taste_along(number, calibration, retriever):
    for history in ORDERS:
        taste = TASTE[history[-number] - 1]
        answer = retriever.answer([Request(history=history, n=N, calibration=calibration, mute_interests=[number])])[0]
        assert places(answer.candidates)[taste] == 0
        assert number not in {one.interest for one in answer.candidates}
        assert listed(retriever, history, calibration=0.8)[taste] >= N / 5, "the control"


@pytest.mark.parametrize("calibration", [0.0, 0.8])
def test_a_muted_interest_takes_a_taste_along_that_another_has_events_of_too(calibration, retriever):
    asked = {"history": [61, 1, 2], "calibration": calibration}  # the two newest are of the first taste
    before, muted, all_items = retriever.answer(
        [Request(n=N, **asked), *(Request(n=n, mute_interests=[1], **asked) for n in (N, len(TASTE)))]
    )
    assert {one.interest for one in before.candidates if one.item_id <= ITEMS} == {1}
    assert places(muted.candidates)[0] == 0
    assert len(all_items.candidates) == len(TASTE) - 3, "it comes last"
    assert {one.interest for one in all_items.candidates if one.item_id <= ITEMS} == {2}, "the other one has it now"


def test_a_list_of_muted_items_alone_is_empty_and_says_why_beside_longer_ones(retriever):
    others = [item for item in range(1, len(TASTE) + 1) if item not in (5, 6, 7)]
    short, long = retriever.answer(
        [Request(history=[1], n=N, mute_interests=[1], exclude=others), Request(history=[1], n=N)]
    )
    assert short.candidates == (), "they have the topics in the name of what is muted"
    assert "no other item is left that is not excluded or muted" in short.reason
    assert len(long.candidates) == N


@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize("calibration", [0.8, 1.0])
def test_a_share_of_a_fifth_gives_the_taste_of_an_interest_a_fifth_of_the_list(number, calibration, retriever):
    for history in ORDERS:
        counts = {}
        for share in (0.0, 0.2, 0.6):
            shares = {k: share if k == number else (1 - share) / 2 for k in (1, 2, 3)}
            answer = listed(retriever, history, calibration=calibration, interest_shares=shares)
            counts[share] = answer[TASTE[history[-number] - 1]]
        assert counts[0.0] == 0
        assert abs(counts[0.2] - N / 5) <= 2
        assert counts[0.6] >= N / 2, "the control"


def test_a_slider_of_the_page_moves_places_to_its_taste(retriever):
    explorer, history = Explorer(lambda: retriever), ORDERS[0]

    def shown(*shares: api.InterestShare) -> api.ExploreResponse:
        answer = explorer.explore(api.ExploreRequest(history=history, calibration=0.8, interest_shares=shares))
        assert answer is not None
        return answer

    published, counts = shown().interests, []
    for share in (0.0, 0.1, 0.2, 0.4, 0.8, 1.0):  # the second interest; the others make room, the whole history too
        rest = (1 - share) / (1 - published[2].share)
        moved = [api.InterestShare(one.number, share if one.number == 2 else rest * one.share) for one in published]
        counts.append(places(shown(*moved).candidates)[1])
    assert counts == sorted(set(counts)), "each further move brings more"
    assert counts[0] <= N / 5, "what the whole history gives it"
    assert counts[-1] == N


@pytest.mark.parametrize("history", [[1], [31, 1]])
def test_beside_the_list_of_the_page_is_that_of_one_vector(history, retriever):
    """The vector of the whole history is nearly the newest event; muting the interests would take its taste along."""
    answer = Explorer(lambda: retriever).explore(api.ExploreRequest(history=history))
    assert answer is not None
    assert answer.one_vector is not None
    assert places(answer.one_vector)[0] >= 0.8 * N
    assert {one.source for one in answer.one_vector} == {"unconditioned"}


def test_one_taste_has_the_same_list_with_any_calibration(retriever):
    def items(history, calibration):
        answer = retriever.recommend(history=history, n=N, calibration=calibration)
        return [one.item_id for one in answer.candidates]

    for calibration in (0.3, 0.8, 1.0):
        assert items([1, 5, 9], calibration) == items([1, 5, 9], 0.0)
        assert items([1, 31, 61], calibration) != items([1, 31, 61], 0.0), "the control"


def test_a_release_without_tastes_has_the_list_of_its_vectors(tmp_path):
    without = publish(tmp_path, np.zeros((0, 3)))
    assert listed(without, ORDERS[0], calibration=0.8) == listed(without, ORDERS[0], calibration=0.0)


@pytest.mark.parametrize("calibration", [-0.1, 1.1, float("nan")])
def test_a_calibration_outside_0_to_1_is_refused_in_one_line(calibration, retriever):
    for ask in (retriever.recommend, Request):
        with pytest.raises(UsageError, match=r"^calibration = .*; expected a part of the list, from 0 to 1$"):
            ask(history=[1], calibration=calibration)
