"""Study files: what they can contain, and that each error is one line before any work."""

import pytest

from multitudes.config import deep_merge
from multitudes.errors import UsageError
from multitudes.nn.methods import METHODS
from multitudes.study.config import flatten, read_study, unflatten
from multitudes.study.grid import build_configs, changed_settings, grid_entries
from multitudes.study.search_space import check_defaults, default_space

GOOD = """
[data.films]
sample = "movielens-small"
train.epochs = 5
[methods.joint]
[methods.plain]
method = "single"
train.epochs = 7
[train]
epochs = 3
batch_size = 32
"""


def read(folder, text):
    (folder / "study.toml").write_text(text)
    return read_study(folder / "study.toml")


def assert_refused(folder, text, message):
    assert text != GOOD
    with pytest.raises(UsageError, match=message) as refused:
        grid_entries(read(folder, text), "study.toml")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[methods.joint]", "[methods.joitn]", r"\[methods.joitn\] on films: 'method' = 'joitn'.*did you mean 'joint'"),
        ("movielens-small", "movielens-smal", "no such data set is shipped; did you mean 'movielens-small'"),
        ("batch_size = 32", "batch_siz = 32", "unknown key 'train.batch_siz'; did you mean 'batch_size'"),
        ("[train]", "[trian]", "unknown key 'trian'; did you mean 'train'"),
        ('sample = "movielens-small"', 'tables = "nowhere"', "nowhere is not a folder"),
        ('sample = "movielens-small"', "", "expected either sample = one of movielens-small, or tables"),
        ("[methods.joint]", "[methods.pinnersage]\nover = 'plan'", "not a trained method.*did you mean 'plain'"),
        ("[methods.joint]", "[methods.joint]\nover = 'plain'", "only pinnersage has over"),
        ("[methods.joint]", "[methods.joint]\ncontrol_of = 'plian'", "control_of = 'plian'.*did you mean 'plain'"),
        ("[methods.joint]", "[methods.joint]\ncontrol_of = 'joint'", "not another method of this study"),
        ("[data.films]", "reference = 'jont'\n[data.films]", "not one of its methods; did you mean 'joint'"),
        ("[data.films]", "seeds = [1, 1]\n[data.films]", "a seed is given twice"),
        (
            "[data.films]",
            "name = 'a/b'\n[data.films]",
            "'name' = 'a/b': cannot name a folder or a row; expected letters",
        ),
    ],
)
def test_an_error_names_the_key_and_a_suggestion(tmp_path, old, new, message):
    assert_refused(tmp_path, GOOD.replace(old, new), message)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("[tuning]\nmetric = 'ndgc'", "'ndgc'.*did you mean 'ndcg'"),
        ("[evaluate]\nsplit = 'test'", "validation, and test with --open-test"),
        ("[retrieve]\nblend = 'fusoin'", "did you mean 'fusion'"),
        ("[methods.two]\ncombine = ['joint', 'plan']", "combine names 'plan'.*mean 'plain'"),
        ("[methods.two]\ncombine = ['joint', 'two']", "combine names 'two', which is not a trained method"),
        ("[methods.linear]\n[methods.two]\ncombine = ['joint', 'linear']", "'linear', which is not a trained method"),
        ("[methods.two]\ncombine = ['joint']", "'methods.two.combine"),
        ("[methods.'a/b']\nmethod = 'joint'", "'methods.a/b' = 'a/b': cannot name a folder or a row; expected letters"),
        ("[methods.combined]", "nothing to combine"),
        ("[methods.two]\ncombine = ['joint', 'plain']\nmodel.width = 8", "only model.blend and retrieve can be set"),
    ],
)
def test_a_wrong_table_is_an_error(tmp_path, table, message):
    assert_refused(tmp_path, GOOD.replace("[train]", f"{table}\n[train]"), message)


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ("train.rate = [1, 2]", "'train.rate', which is not a setting"),
        ("train.epochs = [1, 2]", "epochs = 5 is outside the search space"),
        ("train.epochs = {low = 9, high = 2}", "more than low = 9"),
        ("train.epochs = 9", "or a list of choices"),
        ("model.dropout = {low = 0.5, high = 0.1}", r"^study.toml: \[tuning.space\]: model.dropout"),
        ("model.dropout = {low = 0.0, high = 3}", r"the space of model.dropout: 'model.dropout' = 3.*less than 1"),
        ("model.dropout = [0.3, 'much']", "the space of model.dropout: 'model.dropout' = 'much'"),
    ],
)
def test_a_wrong_search_space_is_an_error(tmp_path, space, message):
    assert_refused(tmp_path, GOOD.replace("[train]", f"[tuning]\ntrials = 2\nspace.{space}\n[train]"), message)


def test_a_folder_and_a_study_without_methods_are_errors(tmp_path):
    with pytest.raises(UsageError, match="a folder; expected a TOML file; examples"):
        read_study(tmp_path)
    with pytest.raises(UsageError, match=r"no \[methods.NAME\]"):
        read(tmp_path, "[data.films]\nsample = 'movielens-small'\n")


def test_tables_of_methods_and_data_sets_override_one_another_at_any_depth(tmp_path):
    joint, plain = grid_entries(read(tmp_path, GOOD), "study.toml")
    runs = [build_configs(entry.settings, seed=3)[0].model_dump() for entry in (joint, plain)]
    assert [run["method"] for run in runs] == ["joint", "single"]
    assert [(run["train"]["epochs"], run["train"]["batch_size"]) for run in runs] == [(5, 32), (7, 32)]
    assert changed_settings(*build_configs(plain.settings, seed=3)) == {"train.epochs": 7, "train.batch_size": 32}
    assert deep_merge({"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"b": 4}}) == {"a": {"b": 4, "c": 2}, "d": 3}
    assert flatten({"a": {"b": {"c": 1}}, "d": 2}) == {"a.b.c": 1, "d": 2}
    assert unflatten({"a.b.c": 1, "a.d": 2}) == {"a": {"b": {"c": 1}, "d": 2}}
    config = read(tmp_path, f"seeds = [0, 1, 2]\n[data.other]\nsample = 'movielens-small'\nseeds = [7]\n{GOOD}")
    assert (config.seeds_of("films"), config.seeds_of("other")) == ((0, 1, 2), (7,))


def test_settings_of_a_methods_own_table_are_not_tuned(tmp_path):
    text = GOOD + "[tuning]\ntrials = 2\nspace.train.epochs = [5, 7]\nspace.train.patience = [3, 5]\n"
    joint, plain = grid_entries(read(tmp_path, text), "study.toml")
    assert set(joint.space) == {"train.epochs", "train.patience"}
    assert set(plain.space) == {"train.patience"}


@pytest.mark.parametrize("method", METHODS)
def test_every_default_space_contains_the_defaults(tmp_path, method):
    (entry,) = grid_entries(read(tmp_path, f"[data.a]\nsample = 'movielens-small'\n[methods.{method}]"), "study.toml")
    assert entry.space == default_space(method)
    check_defaults(entry.space, entry.defaults(), method)


@pytest.mark.parametrize(
    ("method", "changed", "space"),
    [
        ("[methods.pinnersage]\nover = 'plain'\n", {}, {"model.distance", "model.interests"}),
        ("[methods.linear]\nmodel.rank = 8\n", {"model.rank": 8}, set()),
        ("[methods.linear]\n", {}, {"model.rank"}),
    ],
)
def test_what_is_not_trained_takes_no_setting_of_training_and_its_own_search(method, changed, space, tmp_path):
    text = f"{GOOD}{method}[tuning]\ntrials = 2\nspace.train.epochs = [5, 7]\n"
    entry = grid_entries(read(tmp_path, text), "study.toml")[-1]
    assert changed_settings(*build_configs(entry.settings, seed=0)) == changed
    assert set(entry.space) == space


def test_combined_models_take_a_blend_and_the_settings_of_retrieval_and_are_not_tuned(tmp_path):
    text = GOOD + "[methods.both]\ncombine = ['joint', 'plain']\nmodel.blend = 'round_robin'\n"
    text += "retrieve.explicit_share = 0.3\n[tuning]\ntrials = 2\n"
    both = grid_entries(read(tmp_path, text + "[retrieve]\nblend = 'round_robin'\n"), "study.toml")[-1]
    assert (both.base_methods, both.space) == (("joint", "plain"), {})
    changed = changed_settings(*build_configs(both.settings, seed=0))
    assert changed == {"model.blend": "round_robin", "retrieve.explicit_share": 0.3, "retrieve.blend": "round_robin"}
