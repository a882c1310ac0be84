"""Each command names the one that follows, and an interrupted one the command that continues it."""

import shlex

import pytest

from multitudes.cli.main import run
from multitudes.cli.output import print_next, unused_path
from tests.release.small_release import publish_small

SETTINGS = '[evaluate]\nmax_users = 20\nbaselines = "none"\n'


def next_command(out: str) -> list[str]:
    (line,) = (line for line in out.splitlines() if line.startswith("next: multitudes "))
    return shlex.split(line)[2:]


def test_the_id_of_a_user_tells_the_terminal_nothing(capsys):
    print_next("recommend", "releases", "--user", "a\x00\x1b[31m\u202eb")
    assert capsys.readouterr().out == "next: multitudes recommend releases --user 'a  [31m b'\n"


def test_the_commands_lead_from_tables_to_a_service(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run(["synth", "my shop/tables", "--events", "4000", "--users", "80", "--items", "90", "--topics", "5"]) == 0
    command = next_command(capsys.readouterr().out)
    assert command == ["prepare", "my shop/tables", "--out", "my shop/prepared"]
    (tmp_path / "settings.toml").write_text(SETTINGS)
    verbs = ["prepare"]
    while command[0] != "serve":
        more = {"prepare": ["--config", "settings.toml"], "train": ["--method", "linear"]}.get(command[0], [])
        assert run([*command, *more]) == 0, command
        command = next_command(capsys.readouterr().out)
        verbs.append(command[0])
    assert verbs == ["prepare", "train", "evaluate", "report", "publish", "recommend", "serve"]
    assert command == ["serve", "my shop/releases"]


def test_a_check_names_prepare_with_its_own_options_and_no_folder_that_is_there(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run(["synth", "tables", "--events", "400", "--users", "20", "--items", "30", "--topics", "5"]) == 0
    capsys.readouterr()
    options = ["--split", "user", "--min-rating", "3.5", "--set", "prepare.ties=shuffle", "--set", "engine.kind=duckdb"]
    assert run(["prepare", "tables", "--check", *options]) == 0
    assert next_command(capsys.readouterr().out) == ["prepare", "tables", "--out", "prepared", *options]
    assert unused_path(tmp_path / "run") == tmp_path / "run"
    (tmp_path / "run").mkdir()
    (tmp_path / "run-2").mkdir()
    assert unused_path(tmp_path / "run") == tmp_path / "run-3"


def test_a_check_names_the_options_that_import_chose_unless_it_has_its_own(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rows = "".join(f"u{n},i{n % 3},{n},{n % 5 + 1}\n" for n in range(30))
    (tmp_path / "own.csv").write_text(f"user,item,ts,rating\n{rows}")
    (tmp_path / "kinds.csv").write_text("item,kind\ni0,a\ni1,b\ni2,b\n")
    assert run(["import", "own.csv", "kinds.csv", "--out", "data"]) == 0
    said = capsys.readouterr().out
    assert "no topics, so interests have no names; --map COLUMN=topics" in said
    command = next_command(said)
    assert command == ["prepare", "data", "--out", "prepared", "--split", "user", "--min-rating", "3.5"]
    assert run(["prepare", "data", "--check"]) == 0
    assert next_command(capsys.readouterr().out) == command
    assert run(["prepare", "data", "--check", "--split", "time"]) == 0
    assert next_command(capsys.readouterr().out) == [*command[:4], "--split", "time"]


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["train", "p", "--out", "my run", "--overwrite"], "train p --out 'my run' --resume"),
        (["train", "p", "--out", "r", "--resume"], "train p --out r --resume"),
        (["study", "s.toml", "--set", "seeds=[0]"], "study s.toml --set 'seeds=[0]'"),
        (["recommend", "RELEASES", "--all", "--out", "all", "--overwrite"], "recommend RELEASES --all --out all"),
        (["recommend", "RELEASES", "--user", "ann"], None),
    ],
)
def test_an_interrupted_command_names_the_one_that_continues(arguments, hint, tmp_path, monkeypatch, capsys):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    for path in (
        "multitudes.data.prepared.PreparedData.open",
        "multitudes.study.config.load_toml",
        "multitudes.retrieval.retriever.Retriever.recommend",
        "multitudes.batch_inference.runner.recommend_all",
    ):
        monkeypatch.setattr(path, interrupt)
    publish_small(tmp_path)
    assert run([word.replace("RELEASES", str(tmp_path)) for word in arguments]) == 130
    expected = f"; continue with: multitudes {hint}".replace("RELEASES", str(tmp_path)) if hint else ""
    assert capsys.readouterr().err == f"multitudes: interrupted{expected}\n"
