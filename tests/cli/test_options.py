"""Single settings on the command line."""

import json

import pytest

from multitudes.cli.main import run
from multitudes.cli.options import parse_overrides
from multitudes.errors import UsageError
from tests.release.small_release import publish_small
from tests.worlds import planted


def test_values_are_toml_and_quotes_may_be_left_out():
    texts = ["a.x=3", "a.y = 1e-3", "a.z=round_robin", "a.w='3'", "a.b.v=[1, 2]", "a.u=", "a.t=1\nx = 2", "a.x=true"]
    assert parse_overrides(texts) == {
        "a": {"x": True, "y": 0.001, "z": "round_robin", "w": "3", "b": {"v": [1, 2]}, "u": "", "t": "1\nx = 2"}
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train.epochs", "expected a setting and its value, such as train.epochs=3"),
        ("train=3", "expected a setting and its value"),
        ("train..epochs=3", "expected a setting and its value"),
        ("epochs=3", "did you mean 'train.epochs'?"),
        ("trian.epohcs=3", "did you mean 'train.epochs'?"),
        ("retrieve.blend=mixture", r"this command does not read \[retrieve\]; it reads \[train\], \[execution\]"),
        ("x.y=3", "no such setting; known: train.epochs, "),
    ],
)
def test_a_setting_of_another_form_or_section_is_one_line(text, message):
    with pytest.raises(UsageError, match=message):
        parse_overrides([text], "train", "execution")


def test_a_setting_counts_more_than_the_file_and_is_recorded(tmp_path, capsys):
    _, data = planted()
    file = tmp_path / "multitudes.toml"
    file.write_text("[linear]\nrank = 8\n")
    call = ["train", str(data.path), "--method", "linear", "--config", str(file)]
    assert run([*call, "--out", str(tmp_path / "run"), "--set", "linear.rank=4"]) == 0
    config = json.loads((tmp_path / "run" / "run.json").read_text())["config"]["model"]
    assert config == {"rank": 4}
    for text, message in (
        ("linear.rnk=4", "--set [linear]: unknown key 'rnk'; did you mean 'rank'?"),
        ("linear.rank=many", "--set [linear]: 'rank' = 'many': input should be a valid integer"),
    ):
        assert run([*call, "--out", str(tmp_path / "other"), "--set", text]) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


def test_a_setting_alone_changes_those_of_the_release(tmp_path, capsys):
    publish_small(tmp_path)
    call = ["recommend", str(tmp_path), "--user", "ann", "--n", "3", "--json"]
    assert run(call) == 0
    published = capsys.readouterr().out
    assert run([*call, "--set", "retrieve.unconditioned_share=1"]) == 0
    assert capsys.readouterr().out != published
    assert run([*call, "--set", "retrieve.unconditioned_share=2"]) == 2
    assert "--set [retrieve]: 'unconditioned_share' = 2" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["study", "simulate"])
def test_a_file_that_names_its_own_tables_has_no_fixed_sections(verb, tmp_path, capsys):
    file = tmp_path / "file.toml"
    file.write_text("")
    assert run([verb, str(file), "--set", "seed=0"]) == 2
    assert "--set: unknown key 'seed'; did you mean 'seeds'?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["keys", "list", "keys", "--expires", "3d"], "'keys list' does not read --expires; leave it out"),
        (["keys", "list", "keys", "--name", "ann"], "'keys list' does not read --name"),
        (["keys", "add", "keys", "--name", "ann", "--used", "data"], "'keys add' does not read --used"),
        (["keys", "pair", "signer", "--scope", "read"], "'keys pair' does not read --scope"),
        (["keys", "add", "keys"], "a key needs a name: multitudes keys add keys --name shop"),
        (["keys", "add", "none/keys", "--name", "ann"], "none/keys: its folder does not exist; make it"),
        (["keys", "pair", "none/signer"], "none/signer: its folder does not exist; make it"),
        (["state", "backup", "data", "backup", "--keep", "5"], "'state backup' does not read --keep; leave it out"),
        (["prepare", "data", "--check", "--append", "prepared"], "'prepare --check' does not read --append"),
        (["prepare", "data", "--check", "--events", "log"], "'prepare --check' does not read --events"),
    ],
)
def test_an_option_that_an_action_does_not_read_is_rejected(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert not any(tmp_path.iterdir())
