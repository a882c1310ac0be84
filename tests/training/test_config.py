"""Settings of a run: what is refused, and what a method brings."""

import pytest

from multitudes.config import parse
from multitudes.errors import UsageError
from multitudes.nn.user_tower_config import UserTowerConfig
from multitudes.training.config import RunConfig, TrainConfig


def test_a_pool_without_negatives_is_refused() -> None:
    with pytest.raises(UsageError, match=r"'uniform' = 0: with in_batch = 0 there would be no negatives"):
        parse(TrainConfig, {"in_batch": 0, "uniform": 0}, "here")
    for settings in ({"in_batch": 0}, {"uniform": 0}):
        parse(TrainConfig, settings, "here")


def test_a_method_brings_defaults_and_what_is_set_lies_over_them() -> None:
    assert RunConfig.model_validate({"method": "transformer"}).model.crossing.hidden == 0
    assert RunConfig(method="single").model.crossing.hidden > 0
    set_apart = {"method": "transformer", "model": {"sequence": {"blocks": 2}, "width": 32}}
    for given in (set_apart, set_apart | {"model": UserTowerConfig.model_validate(set_apart["model"])}):
        model = RunConfig.model_validate(given).model
        assert (model.crossing.hidden, model.sequence.blocks, model.width) == (0, 2, 32)


def test_settings_survive_being_written_and_read() -> None:
    first = RunConfig.model_validate({"method": "transformer", "model": {"crossing": {"hidden": 8}}})
    assert RunConfig.model_validate(first.model_dump(mode="json")) == first
