"""The file of an experiment: what is valid, and a one-line error for everything else."""

from pathlib import Path

import pytest

from multitudes.errors import UsageError
from multitudes_lab.simulation.config import read_experiment
from multitudes_lab.simulation.world_config import CONTROLS

GOOD = """
[arms.single]
[arms.dcm]
method = "clustering"
[arms.turns]
like = "dcm"
[arms.turns.retrieve]
blend = "round_robin"
[arms.followed]
policy = "followed"
"""


def read(tmp_path, text: str):
    file = tmp_path / "world.toml"
    file.write_text(text, encoding="utf-8")
    return read_experiment(file)


def test_an_arm_is_a_method_a_policy_or_shares_a_training(tmp_path):
    config = read(tmp_path, GOOD)
    assert config.control_arm == "single"
    assert config.run_config("turns", 3).method == config.run_config("dcm", 3).method == "clustering"
    assert config.run_config("turns", 3).seed == 3
    assert config.retrieve_config("turns").blend == "round_robin"
    assert config.retrieve_config("dcm").blend != "round_robin"


def test_the_shipped_worlds_are_valid():
    examples = sorted((Path(__file__).parents[3] / "examples").glob("*.toml"))
    worlds = [file for file in examples if "[world]" in file.read_text(encoding="utf-8")]
    assert len(worlds) >= 2
    for file in worlds:
        assert read_experiment(file).arms


def test_arms_and_a_control_world_can_be_chosen_by_options(tmp_path):
    file = tmp_path / "world.toml"
    file.write_text(GOOD + "[world]\nusers = 77\n", encoding="utf-8")
    for name, settings in CONTROLS.items():
        world = read_experiment(file, control_world=name.replace(" ", "-")).world.model_dump()
        assert {key: world[key] for key in settings} == settings
    config = read_experiment(file, arms=("followed", "single"), control_world="one-taste")
    assert list(config.arms) == ["single", "followed"]
    assert (config.world.users, config.world.tastes, config.name) == (77, 1, "experiment-one-taste")
    for arms, said in ((("singel",), "did you mean 'single'"), (("single", "turns"), "give --arm dcm too")):
        with pytest.raises(UsageError, match=said):
            read_experiment(file, arms=arms)
    with pytest.raises(UsageError, match="--control-world one-tase: no such world; did you mean 'one-taste'"):
        read_experiment(file, control_world="one-tase")
    with pytest.raises(UsageError, match="control = 'single': no such arm"):
        read_experiment(file, arms=("followed",))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[", "not a TOML file"),
        ("", r"no \[arms\.NAME\]"),
        ("[arms.singel]", "did you mean 'single'"),
        ("[arms.a]\npolicy = 'popular'\nmethod = 'joint'", "is not trained"),
        ("[arms.a]\npolicy = 'best'", "did you mean|Input should|input should"),
        ("[arms.a]\nlike = 'b'\n[arms.joint]", "no arm that is trained"),
        ("[arms.joint]\n[arms.a]\nlike = 'joint'\n[arms.a.model]\nwidth = 8", "retrieve\\] and rerank can differ"),
        ("[arms.a]\nmehtod = 'joint'", "arms.a.mehtod.; did you mean 'method'"),
        ("control = 'x'\n[arms.joint]", "no such arm"),
        ("[arms.joint]\n[arms.joint.model]\nwidht = 8", "did you mean 'width'"),
        ("[arms.joint]\n[loop]\nslots = 200", "at most as many"),
        ("seeds = [1, 1]\n[arms.joint]", "a seed is given twice"),
        ("[arms.'../x']\nmethod = 'joint'", "cannot name a folder"),
        ("name = 'a/b'\n[arms.joint]", "'name' = 'a/b': cannot name a folder or a row; expected letters"),
        ("[arms.a]\nlike = 'a'", "known: none"),
        ("[arms.joint]\n[world]\nseed = 3", r"give seeds = \[0\]"),
        ("[arms.joint]\n[world]\nuser = 3", "did you mean 'users'"),
        ("[arms.joint]\n[world]\noverlap = 2", "less than or equal to 1"),
        ("[arms.joint]\n[world]\nitems = 100", "topics = 60, niches = 300, items = 100; expected topics <= niches"),
        ("[arms.joint]\n[world]\ntastes = 9\nniches = 9\ntopics = 2", "expected fewer tastes than niches"),
        ("[arms.joint]\n[loop]\nranker_noise = inf", "finite number|inf"),
        ("[arms.joint]\n[retrieve]\nblend = 'best'", "'blend' = 'best'"),
        ("seeds = []\n[arms.joint]", "at least 1 item"),
    ],
)
def test_an_impossible_experiment_is_rejected_in_one_line(tmp_path, text, said):
    with pytest.raises(UsageError, match=said) as caught:
        read(tmp_path, text)
    assert "\n" not in str(caught.value)
    assert "world.toml" in str(caught.value) or "[arms" in str(caught.value)
