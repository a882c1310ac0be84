"""A few states of a history are what they are among all of them."""

from typing import Literal

import pytest
import torch

from multitudes.nn.primitives import Dropout
from multitudes.nn.sequence_encoder import SequenceConfig, build_sequence_encoder, rows_at

LENGTH, WIDTH = 9, 8
GROUPS = torch.tensor([[0] * LENGTH, [1, 0, 1, -1, 0, 0, 2, 1, -1]])


@pytest.mark.parametrize("layer", ["plain", "gated"])
@pytest.mark.parametrize("blocks", [0, 1, 3])
def test_a_state_read_alone_is_the_same_as_among_all(blocks: int, layer: Literal["plain", "gated"]) -> None:
    torch.manual_seed(0)
    encoder = build_sequence_encoder(SequenceConfig(blocks=blocks, heads=2, layer=layer), WIDTH, LENGTH, 0.3).eval()
    for parameter in encoder.parameters():
        torch.nn.init.normal_(parameter)
    item_BLD = torch.randn(2, LENGTH, WIDTH)
    place_BR = torch.tensor([[0, 4, 4, 8], [2, 0, 3, 6]])  # one twice, and one that is in no group
    with torch.no_grad():
        every_BLD = encoder(item_BLD, GROUPS)
        alone_BRD = encoder.states_at(item_BLD, GROUPS, place_BR)
        elsewhere_BRD = encoder.states_at(item_BLD, GROUPS.clamp(max=0), place_BR)
    assert torch.allclose(alone_BRD, rows_at(every_BLD, place_BR), atol=1e-5)
    assert not torch.allclose(alone_BRD[1], elsewhere_BRD[1], atol=1e-2), "the control: groups are kept apart"


@pytest.mark.parametrize("blocks", [1, 2])
def test_items_are_dropped_while_training_where_few_states_are_read_too(blocks: int) -> None:
    encoder = build_sequence_encoder(SequenceConfig(blocks=blocks, heads=2), WIDTH, LENGTH, 0.5)
    for name, module in encoder.named_modules():
        if isinstance(module, Dropout) and name != "dropout":
            module.threshold = 0  # what the blocks drop
    item_BLD, place_BR = torch.randn(2, LENGTH, WIDTH), torch.tensor([[0, 4], [2, 6]])
    assert not torch.allclose(
        encoder.states_at(item_BLD, GROUPS, place_BR), encoder.states_at(item_BLD, GROUPS, place_BR)
    )
    encoder.eval()
    assert torch.equal(encoder.states_at(item_BLD, GROUPS, place_BR), encoder.states_at(item_BLD, GROUPS, place_BR)), (
        "the control"
    )


@pytest.mark.parametrize("place", range(LENGTH - 1))  # the oldest looks at itself alone, whatever its weight
def test_each_distance_between_two_events_has_its_own_weight(place: int) -> None:
    torch.manual_seed(0)
    encoder = build_sequence_encoder(SequenceConfig(blocks=1, heads=2), WIDTH, LENGTH, 0.0).eval()
    encoder(torch.randn(1, LENGTH, WIDTH), GROUPS[:1])[0, place].square().sum().backward()
    (name,) = (name for name, _ in encoder.named_parameters() if name.endswith("distance_HL"))
    gradient_HL = encoder.get_parameter(name).grad
    assert gradient_HL is not None
    # The newest event comes first, and each looks at those before it in time.
    assert gradient_HL.abs().sum(dim=0).gt(0).tolist() == [place + distance < LENGTH for distance in range(LENGTH)]
