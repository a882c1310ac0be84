"""How many interests a user has, and which event belongs to which."""

import math

import torch

from multitudes.nn.interest_assignment import assign_events, attend_to_events, slots_by_events, slots_by_log_events


def of_length(*events: int) -> torch.Tensor:
    return torch.arange(70) < torch.tensor(events).unsqueeze(1)


def test_a_user_has_interests_by_the_logarithm_of_the_history_and_no_more_than_events() -> None:
    assert slots_by_events(of_length(0, 1, 3, 9), 4).sum(dim=1).tolist() == [0, 1, 3, 4]
    lengths = [0, 1, 2, 3, 4, 7, 8, 15, 16, 31, 32, 64]
    expected = [0] + [max(1, min(5, math.floor(math.log2(n)))) for n in lengths[1:]]
    assert slots_by_log_events(of_length(*lengths), 5).sum(dim=1).tolist() == expected


def test_an_event_belongs_to_the_interest_with_the_largest_share_or_attention() -> None:
    share_BLK = torch.tensor([[[0.7, 0.3, 0.0], [0.1, 0.6, 0.3], [0.5, 0.4, 0.1], [0.0, 0.0, 0.0]]])
    (_, weight_BK, mask_BK), assignment_BL = assign_events(torch.zeros(1, 3, 2), share_BLK)
    assert assignment_BL.tolist() == [[0, 1, 0, -1]]
    assert mask_BK.tolist() == [[True, True, False]]
    torch.testing.assert_close(weight_BK, torch.tensor([[1.2, 0.6, 0.0]]) / 1.8)
    logit_BLK = torch.tensor([[[2.0, 9.0], [0.0, 9.5], [1.0, 9.5], [8.0, 30.0]]])
    value_BLD = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [0.0, 3.0], [9.0, 9.0]]])
    found = attend_to_events(logit_BLK, value_BLD, torch.tensor([[True, True, True, False]]))
    expected_BKD = logit_BLK[:, :3].softmax(dim=1).transpose(1, 2) @ value_BLD[:, :3]
    torch.testing.assert_close(found.interests.vectors_BKD, expected_BKD)
    assert found.assignment_BL.tolist() == [[0, 1, 1, -1]]
