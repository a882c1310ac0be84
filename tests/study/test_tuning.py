"""The search: the same number of trials for everybody, never worse than the defaults, and repeatable."""

from multitudes.study.search_space import Range, SearchSpace
from multitudes.study.tuning import tune

SPACE: SearchSpace = {"train.learning_rate": Range(low=0.001, high=1.0, log=True), "model.kind": ("plain", "wide")}
DEFAULTS = {"train.learning_rate": 0.5, "model.kind": "plain"}


def hill(_number, values):
    """Highest at a rate of 0.01 with the kind 'wide'."""
    return -abs(values["train.learning_rate"] - 0.01) + (values["model.kind"] == "wide")


def test_it_finds_the_maximum_and_without_differences_the_defaults_stay():
    found = tune(hill, SPACE, DEFAULTS, trials=30, seed=0)
    assert found.trials[0].settings == DEFAULTS
    assert found.best["model.kind"] == "wide"
    assert abs(found.best["train.learning_rate"] - 0.01) < 0.01
    assert tune(lambda *_: 0.5, SPACE, DEFAULTS, trials=10, seed=0).best == DEFAULTS
    space = {"k": Range(low=1, high=9)}
    assert all(isinstance(t.settings["k"], int) for t in tune(lambda *_: 0.0, space, {"k": 4}, 5, 0).trials)


def test_a_repeated_search_makes_the_same_choices_and_a_failed_trial_is_never_chosen():
    searches = [tune(hill, SPACE, DEFAULTS, trials=8, seed=seed).trials for seed in (0, 0, 1)]
    assert searches[0] == searches[1]
    assert searches[0] != searches[2]
    found = tune(lambda n, values: None if n % 2 else hill(n, values), SPACE, DEFAULTS, trials=6, seed=0)
    assert [trial.score is None for trial in found.trials] == [True, False] * 3
    assert found.best in [trial.settings for trial in found.trials[1::2]]
    assert tune(lambda *_: None, SPACE, DEFAULTS, trials=3, seed=0).best == {}
