"""The user tower's settings: those that are refused, and what the ablations change."""

import pytest
import torch

from multitudes.config import parse
from multitudes.errors import UsageError
from multitudes.nn.interest_assignment import Interests, with_conditions_of_others
from multitudes.nn.two_tower import HistoryInputs
from multitudes.nn.user_tower import events_between_valid
from multitudes.nn.user_tower_config import UserTowerConfig
from tests.nn.small import CONDITIONS, inputs, model, vectors


@pytest.mark.parametrize("settings", [{"sequence": {"heads": 3}}, {"crossing": {"kind": "dhen", "heads": 3}}])
def test_heads_that_do_not_divide_the_width_are_rejected(settings: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="heads = 3 must divide width = 64"):
        parse(UserTowerConfig, settings, "here")
    parse(UserTowerConfig, {"width": 63} | settings, "here")


def test_heads_that_nothing_uses_may_be_any() -> None:
    parse(UserTowerConfig, {"sequence": {"heads": 3, "blocks": 0}, "crossing": {"heads": 3}}, "here")


def test_late_fusion_adds_the_topic_to_a_vector_that_knows_nothing_of_it() -> None:
    for fusion, apart in (("late", False), ("early", True)):
        tower = model("joint", conditional={"fusion": fusion})
        given = inputs(tower)
        given["topic_BC"] = torch.tensor([[1, 2, 3]]).expand(len(given["topic_BC"]), -1)
        explicit_BCD = vectors(tower, given).interests.vectors_BKD[:, -CONDITIONS:]
        assert tower.user.conditional is not None
        with torch.no_grad():
            rest_BCD = explicit_BCD - tower.user.conditional.project(tower.user.topics(given["topic_BC"]))
        assert ((rest_BCD - rest_BCD[:, :1]).abs().amax() > 1e-3) == apart


def test_late_fusion_leaves_implicit_interests_as_they_are() -> None:
    early, late = (model("joint", conditional={"fusion": fusion}) for fusion in ("early", "late"))
    one, other = (vectors(tower, inputs(tower)).interests.vectors_BKD for tower in (early, late))
    assert torch.equal(one[:, :-CONDITIONS], other[:, :-CONDITIONS])
    assert not torch.allclose(one[:, -CONDITIONS:], other[:, -CONDITIONS:])


def test_without_validity_unusable_events_make_interests_and_padding_does_not() -> None:
    for validity in (True, False):
        tower = model("clustering", validity=validity)
        given = inputs(tower)
        given["valid_BL"][1] = torch.arange(20) % 3 == 1
        given["action_BL"][1, 16:] = 0
        given["valid_BL"][1, 16:] = False
        taken_L = vectors(tower, given).assignment_BL[1] >= 0
        assert torch.equal(
            taken_L, given["valid_BL"][1] if validity else (torch.arange(20) > 0) & (torch.arange(20) < 14)
        )


def test_unusable_events_of_the_past_are_those_between_usable_ones() -> None:
    """Newer events may be targets, and older ones are beyond the history."""
    event_BL = torch.tensor([[True] * 6 + [False], [True] * 7])
    past_BL = torch.tensor([[False, False, True, False, True, False, False], [False] * 7])
    assert events_between_valid(event_BL, past_BL).tolist() == [
        [False, False, True, True, True, False, False],
        [False] * 7,
    ]


def test_isolated_interests_do_not_train_the_unconditioned_tower() -> None:
    for isolate in (True, False):
        tower = model("joint", isolate=isolate)
        tower.train()
        interest_BKD = tower.user_vectors(HistoryInputs(**inputs(tower))).interests.vectors_BKD[:, 1:]
        interest_BKD.sum().backward()
        touched = [name for name, weight in tower.named_parameters() if weight.grad is not None and weight.grad.any()]
        assert any("interest_crossing" in name for name in touched)
        assert any("sequence" in name or "items" in name for name in touched) != isolate


def test_the_conditions_of_another_user_change_the_vectors_and_nothing_else() -> None:
    tower = model("clustering")
    given = inputs(tower)  # user 0 has no history
    with torch.no_grad():
        own, other = (tower.user_vectors(HistoryInputs(**given), partition=who) for who in ("interests", "other_user"))
    assert torch.equal(own.assignment_BL, other.assignment_BL)
    for before, after in zip(own.interests[1:], other.interests[1:], strict=True):
        assert torch.equal(before, after)
    changed_BK = (own.interests.vectors_BKD - other.interests.vectors_BKD).abs().amax(dim=2) > 1e-3
    assert not changed_BK[:, 0].any(), "the unconditioned vector has no condition"
    assert changed_BK[:, 1:][own.interests.mask_BK[:, 1:]].all()


def test_the_conditions_of_another_user_are_those_of_the_one_before_with_an_interest() -> None:
    vectors_BKD = torch.arange(12.0).view(4, 3, 1)
    mask_BK = torch.tensor([[True, True, True], [False, False, False], [False, True, True], [True, False, False]])
    interests = Interests(vectors_BKD, mask_BK / 3, mask_BK)
    taken = with_conditions_of_others(interests).vectors_BKD.squeeze(2)
    assert taken.tolist() == [[9, 9, 9], [3, 4, 5], [0, 1, 2], [7, 8, 7]]
    alone = Interests(*(array[:2] for array in interests))
    assert torch.equal(with_conditions_of_others(alone).vectors_BKD, alone.vectors_BKD)
