"""One suite for every interest module, through the user tower that serves it."""

import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor

from multitudes.nn.interest_assignment import Interests
from multitudes.nn.methods import METHODS, Method
from multitudes.nn.two_tower import HistoryInputs, TwoTower
from multitudes.training.trained_run import named_weights
from tests.nn.small import inputs, model, vectors

pytestmark = pytest.mark.contract

SHAPES: tuple[dict[str, object], ...] = (
    {},
    {"sequence": {"blocks": 0}, "similarity": "cosine"},
    {"sequence": {"blocks": 2}, "crossing": {"kind": "dhen", "hidden": 32}, "reads": "history"},
    {"interests": 7},
)
ABLATIONS: tuple[tuple[Method, dict[str, object]], ...] = (
    ("clustering", {"clustering": {"seeds": "random_items"}}),
    ("clustering", {"clustering": {"assignment": "soft_kmeans"}}),
)
CASES = [*((method, shape) for method in METHODS for shape in SHAPES), *ABLATIONS]


@pytest.fixture(params=CASES, ids=[f"{case[0]}-{i}" for i, case in enumerate(CASES)])
def tower(request: pytest.FixtureRequest) -> TwoTower:
    method, settings = request.param
    return model(method, **settings)


def assert_same(one: object, other: object) -> None:
    first, second = ([*v.interests, v.assignment_BL] for v in (one, other))  # type: ignore[attr-defined]
    for a, b in zip(first, second, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


def cut(given: dict[str, Tensor], length: int) -> dict[str, Tensor]:
    return {name: array[:, :length] if name.endswith(("BLD", "BL")) else array for name, array in given.items()}


def test_masked_items_and_padding_contribute_nothing_and_valid_items_do(tower: TwoTower) -> None:
    given = inputs(tower)
    given["valid_BL"][:, 12:] = False
    long, short = vectors(tower, given), vectors(tower, cut(given, 12))
    assert_same(long._replace(assignment_BL=long.assignment_BL[:, :12]), short)
    assert (long.assignment_BL[:, 12:] == -1).all()
    given = inputs(tower)
    other = given | {"input_BLD": torch.where(given["valid_BL"].unsqueeze(2), given["input_BLD"] + 1.0, 0.0)}
    change = (vectors(tower, given).interests.vectors_BKD - vectors(tower, other).interests.vectors_BKD).abs()
    assert (change[1:].amax(dim=(1, 2)) > 1e-3).all()


def test_other_users_of_the_batch_never_change_the_result(tower: TwoTower) -> None:
    given = inputs(tower)
    together = vectors(tower, given)
    for b in range(len(given["valid_BL"])):
        alone = vectors(tower, {name: array[b : b + 1] for name, array in given.items()})
        mine = Interests(*(part[b : b + 1] for part in together.interests))
        assert_same(together._replace(interests=mine, assignment_BL=together.assignment_BL[b : b + 1]), alone)


def test_masked_items_contribute_nothing_where_all_similarities_are_negative(tower: TwoTower) -> None:
    given = inputs(tower)
    opposed_LD = torch.eye(given["input_BLD"].shape[2]).repeat(2, 1)[:20] - 0.5
    given["input_BLD"] = opposed_LD.expand_as(given["input_BLD"]).clone()
    before = vectors(tower, given)
    other = given | {"input_BLD": torch.where(given["valid_BL"].unsqueeze(2), given["input_BLD"], 0.0)}
    assert_same(before, vectors(tower, other))


def test_an_empty_history_is_defined_and_weights_of_a_kind_sum_to_one(tower: TwoTower) -> None:
    empty = vectors(tower, inputs(tower))
    assert torch.isfinite(empty.interests.vectors_BKD).all()
    assert (empty.assignment_BL[0] == -1).all()
    implicit = [k for k in range(empty.interests.mask_BK.shape[1]) if (empty.assignment_BL == k).any()]
    assert not empty.interests.mask_BK[0, implicit].any()
    weight_BK, mask_BK = vectors(tower, inputs(tower)).interests[1:]
    assert (weight_BK[~mask_BK] == 0).all()
    for kind in kinds(tower):
        some = mask_BK[:, kind].any(dim=1)
        torch.testing.assert_close(weight_BK[:, kind].sum(dim=1)[some], torch.ones(int(some.sum())))


def kinds(tower: TwoTower) -> list[slice]:
    start = int(tower.user.has_unconditioned)
    found = [slice(0, start)] if start else []
    if tower.user.implicit is not None:
        found.append(slice(start, start + tower.user.config.interests))
        start = found[-1].stop
    return [*found, slice(start, None)] if tower.user.conditional is not None else found


def test_gradients_are_finite_also_on_rows_without_a_valid_item(tower: TwoTower) -> None:
    given = inputs(tower)
    given["input_BLD"].requires_grad_()
    result = tower.user_vectors(HistoryInputs(**given))
    (result.interests.vectors_BKD.square().sum() + result.interests.weight_BK.square().sum()).backward()
    assert given["input_BLD"].grad is not None
    assert all(
        torch.isfinite(p.grad).all() for p in [given["input_BLD"], *tower.user.parameters()] if p.grad is not None
    )


def test_saved_and_reloaded_is_identical(tower: TwoTower) -> None:
    given = inputs(tower)
    before = vectors(tower, given).interests.vectors_BKD
    kept = load(save({name: tensor.clone() for name, tensor in named_weights(tower).items()}))
    with torch.no_grad():
        for parameter in tower.parameters():
            parameter.zero_()
        assert not torch.equal(before, vectors(tower, given).interests.vectors_BKD)
        for name, tensor in named_weights(tower).items():
            tensor.copy_(kept[name])
    assert torch.equal(before, vectors(tower, given).interests.vectors_BKD)
