"""Impossible worlds are rejected in one line that names what was given and what was expected."""

import pytest

from multitudes.config import Config, parse
from multitudes.errors import UsageError
from multitudes_lab.simulation.world_config import CONTROLS, WorldConfig


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"users": 0}, "'users' = 0"),
        ({"informative_follows": 1.2}, "'informative_follows' = 1.2"),
        ({"fatigue": float("nan")}, "'fatigue' = nan"),
        ({"taste_life_days": float("inf")}, "'taste_life_days' = inf"),
        ({"niches": 20}, "topics = 60, niches = 20, items = 10000; expected topics <= niches <= items"),
        ({"items": 100}, "topics = 60, niches = 300, items = 100"),
        ({"topics": 2, "niches": 3, "tastes": 3}, "tastes = 3, niches = 3; expected fewer tastes than niches"),
        ({"taste": 3}, "unknown key 'taste'; did you mean 'tastes'?"),
    ],
)
def test_an_impossible_world_is_rejected_in_one_line(given, said):
    with pytest.raises(UsageError) as refused:
        parse(WorldConfig, given, "world.toml: [world]")
    message = str(refused.value)
    assert message.startswith(f"world.toml: [world]: {said}")
    assert "\n" not in message


def test_a_wrong_world_in_a_configuration_is_rejected_without_being_printed():
    class Experiment(Config):
        world: WorldConfig = WorldConfig()

    with pytest.raises(
        UsageError, match=r"^x.toml: 'world': tastes = 4, niches = 4; expected fewer tastes than niches$"
    ):
        parse(Experiment, {"world": {"tastes": 4, "niches": 4, "topics": 4}}, "x.toml")


def test_the_control_worlds_are_valid():
    for values in CONTROLS.values():
        assert parse(WorldConfig, values, "control") != WorldConfig()


def test_every_setting_has_a_description():
    for name, field in WorldConfig.model_fields.items():
        assert field.description, name
