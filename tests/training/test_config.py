"""Settings of a run: what is rejected, and the defaults of a method."""

import pytest

from multitudes.config import parse
from multitudes.errors import UsageError
from multitudes.nn.user_tower_config import UserTowerConfig
from multitudes.training.config import RunConfig, TrainConfig


def test_a_pool_without_negatives_is_rejected() -> None:
    with pytest.raises(UsageError, match=r"'uniform' = 0: with in_batch = 0 there would be no negatives"):
        parse(TrainConfig, {"in_batch": 0, "uniform": 0}, "here")
    for settings in ({"in_batch": 0}, {"uniform": 0}):
        parse(TrainConfig, settings, "here")


def test_a_method_has_defaults_given_settings_override_them_and_all_are_written_and_read() -> None:
    assert RunConfig.model_validate({"method": "transformer"}).model.crossing.hidden == 0
    assert RunConfig(method="single").model.crossing.hidden > 0
    set_apart = {"method": "transformer", "model": {"sequence": {"blocks": 2}, "width": 32}}
    for given in (set_apart, set_apart | {"model": UserTowerConfig.model_validate(set_apart["model"])}):
        model = RunConfig.model_validate(given).model
        assert (model.crossing.hidden, model.sequence.blocks, model.width) == (0, 2, 32)
    first = RunConfig.model_validate({"method": "transformer", "model": {"crossing": {"hidden": 8}}})
    assert RunConfig.model_validate(first.model_dump(mode="json")) == first


def test_the_paper_has_defaults_of_training_too_and_says_what_differs_from_them() -> None:
    plain = RunConfig(method="paper")
    assert (plain.train.association, plain.train.uniform, plain.model.crossing.kind) == ("argmax", 0, "dhen")
    assert (plain.model.unconditioned, plain.model.sequence.blocks, plain.model.reads) == (False, 0, "history")
    assert plain.changed_defaults() == []
    assert RunConfig(method="joint").train == TrainConfig(), "the control: other methods have none of them"
    given = {"train": {"association": "mixture", "epochs": 3}, "model": {"crossing": {"kind": "mlp"}, "interests": 7}}
    settings = {"train": TrainConfig.model_validate(given["train"])}
    for changed in (given, given | settings):
        config = RunConfig.model_validate({"method": "paper"} | changed)
        assert (config.train.epochs, config.train.uniform, config.model.interests) == (3, 0, 7)
        assert config.changed_defaults() == ["[model] crossing.kind = mlp", "[train] association = mixture"]
