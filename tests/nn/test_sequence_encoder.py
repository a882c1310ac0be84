"""A few states of a history are what they are among all of them."""

import pytest
import torch

from multitudes.nn.primitives import Dropout
from multitudes.nn.sequence_encoder import CausalMean, SequenceConfig, SequenceEncoder, build_sequence_encoder, rows_at

LENGTH, WIDTH = 9, 8
GROUPS = torch.tensor([[0] * LENGTH, [1, 0, 1, -1, 0, 0, 2, 1, -1]])
# Four sets of each user. Of the first: the group, twice all but its newest events, and nothing; of the other: by group.
OLDER = torch.arange(LENGTH) >= 4
SETS = torch.stack(
    [
        torch.stack([torch.ones_like(OLDER), OLDER, OLDER, torch.zeros_like(OLDER)]),
        torch.stack([GROUPS[1] == group for group in (0, 1, 2, 3)]),
    ]
)


@pytest.mark.parametrize("blocks", [0, 1, 3])
def test_the_newest_state_of_a_set_is_the_same_as_among_all(blocks: int) -> None:
    encoder = random_encoder(blocks)
    item_BLD = torch.randn(2, LENGTH, WIDTH)
    with torch.no_grad():
        newest_BRD = encoder.newest_states(item_BLD, GROUPS, SETS)
        every_BLD = encoder(item_BLD, GROUPS)
        everything_BLD = encoder(item_BLD, GROUPS.clamp(max=0))
    place_BR = torch.tensor([[0, 4, 4], [1, 0, 6]])
    torch.testing.assert_close(newest_BRD[:, :3], rows_at(every_BLD, place_BR), atol=1e-5, rtol=1e-5)
    assert not newest_BRD[:, 3].any()
    elsewhere_BRD = rows_at(everything_BLD, place_BR)
    assert not torch.allclose(newest_BRD[1, :3], elsewhere_BRD[1], atol=1e-2), "the control: groups are kept apart"


@pytest.mark.parametrize("blocks", [0, 1, 2])
def test_overlapping_sets_are_read_together_where_no_block_before_the_last_mixes_events(blocks: int) -> None:
    encoder = random_encoder(blocks)
    item_BLD = torch.randn(1, LENGTH, WIDTH)
    groups_BL, all_B1L = GROUPS[1:], torch.ones(1, 1, LENGTH, dtype=torch.bool)
    with torch.no_grad():
        together_BRD = encoder.newest_states(item_BLD, torch.zeros_like(groups_BL), torch.cat([all_B1L, SETS[1:]], 1))
        apart_BRD = encoder.newest_states(item_BLD, groups_BL, SETS[1:])
        entire_BD = encoder(item_BLD, torch.zeros_like(groups_BL))[:, 0]
    torch.testing.assert_close(together_BRD[:, 0], entire_BD, atol=1e-5, rtol=1e-5)
    is_same = torch.allclose(together_BRD[:, 1:], apart_BRD, atol=1e-5)
    assert is_same == encoder.sets_may_overlap == (blocks < 2)


@pytest.mark.parametrize("blocks", [1, 2])
def test_items_are_dropped_while_training_where_few_states_are_read_too(blocks: int) -> None:
    encoder = build_sequence_encoder(SequenceConfig(blocks=blocks), WIDTH, LENGTH, 0.5)
    for name, module in encoder.named_modules():
        if isinstance(module, Dropout) and name != "dropout":
            module.threshold = 0  # what the blocks drop
    item_BLD = torch.randn(2, LENGTH, WIDTH)

    def states() -> torch.Tensor:
        return encoder.newest_states(item_BLD, GROUPS, SETS)

    assert not torch.allclose(states(), states())
    encoder.eval()
    assert torch.equal(states(), states()), "the control"


def random_encoder(blocks: int) -> SequenceEncoder | CausalMean:
    torch.manual_seed(0)
    encoder = build_sequence_encoder(SequenceConfig(blocks=blocks), WIDTH, LENGTH, 0.3).eval()
    for parameter in encoder.parameters():
        torch.nn.init.normal_(parameter)
    return encoder


@pytest.mark.parametrize("place", range(LENGTH - 1))  # the oldest looks at itself alone, whatever its weight
def test_each_distance_between_two_events_has_its_own_weight(place: int) -> None:
    torch.manual_seed(0)
    encoder = build_sequence_encoder(SequenceConfig(blocks=1), WIDTH, LENGTH, 0.0).eval()
    encoder(torch.randn(1, LENGTH, WIDTH), GROUPS[:1])[0, place].square().sum().backward()
    (name,) = (name for name, _ in encoder.named_parameters() if name.endswith("distance_HL"))
    gradient_HL = encoder.get_parameter(name).grad
    assert gradient_HL is not None
    # The newest event comes first, and each looks at those before it in time.
    assert gradient_HL.abs().sum(dim=0).gt(0).tolist() == [place + distance < LENGTH for distance in range(LENGTH)]
