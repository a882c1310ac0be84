"""What the interests of a tower train, and the control with the conditions of others."""

import torch

from multitudes.nn.interest_assignment import Interests, with_conditions_of_others
from multitudes.nn.two_tower import HistoryInputs
from tests.nn.small import inputs, model


def test_interests_train_what_they_share_with_the_unconditioned_vector() -> None:
    tower = model("joint")
    tower.train()
    interest_BKD = tower.user_vectors(HistoryInputs(**inputs(tower))).interests.vectors_BKD[:, 1:]
    interest_BKD.sum().backward()
    touched = [name for name, weight in tower.named_parameters() if weight.grad is not None and weight.grad.any()]
    for part in ("interest_crossing", "sequence", "items"):
        assert any(part in name for name in touched)


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
