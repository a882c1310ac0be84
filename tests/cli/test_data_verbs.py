"""init, validate and prepare: what is printed where, and the exit codes."""

import json
import shlex
import tomllib
from pathlib import Path

import polars as pl
import pytest

from multitudes.cli.main import run
from multitudes.config import SECTIONS, config_template, parse, section_config
from multitudes.data.prepared import PreparedData


@pytest.fixture(scope="module")
def started(tmp_path_factory) -> Path:
    folder: Path = tmp_path_factory.mktemp("init") / "new"
    assert run(["init", str(folder)]) == 0
    return folder


def test_init_writes_every_setting_with_its_default_and_explanation_and_keeps_what_is_there(started, capsys):
    written = tomllib.loads((started / "multitudes.toml").read_text())
    assert set(written) == set(SECTIONS)
    for section, values in written.items():
        assert parse(section_config(section), values, section) == section_config(section)()
    lines = config_template().splitlines()
    for number, line in enumerate(lines):
        if " = " in line and not line.startswith("#"):
            assert lines[number - 1].startswith("# "), line
    assert run(["init", str(started)]) == 2
    assert "not empty" in capsys.readouterr().err


def test_the_example_goes_through_validate_and_prepare(started, tmp_path, capsys):
    assert run(["prepare", str(started / "data"), "--check", "--json"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert json.loads(out[-1])["counts"]["events"] == 20_000
    assert any(line.startswith("repair: 8 items without a topic") for line in out)
    settings = started / "multitudes.toml"
    call = ["prepare", str(started / "data"), "--out", str(tmp_path / "prepared"), "--config", str(settings)]
    assert run([*call, "--split", "user", "--json"]) == 0
    record = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert record["config"]["split"] == "user"  # the option overrides the file
    assert record["counts"] == PreparedData.open(tmp_path / "prepared").manifest["counts"]
    assert run(call) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert run([*call, "--overwrite"]) == 0


def test_bad_data_is_exit_3_with_one_line(tmp_path, capsys):
    pl.DataFrame({"user_id": [1.5], "item_id": [1], "timestamp": [1]}).write_parquet(tmp_path / "events.parquet")
    for call in (["prepare", str(tmp_path), "--check"], ["prepare", str(tmp_path), "--out", str(tmp_path / "out")]):
        assert run(call) == 3
        captured = capsys.readouterr()
        assert captured.err.count("\n") == 1
        assert "'user_id' is DOUBLE" in captured.err
        assert captured.out == ""


def test_warnings_go_to_stderr(tmp_path, capsys):
    pl.DataFrame({"user_id": [1] * 4, "item_id": range(4), "timestamp": [5, 6, 7, 8]}).write_csv(
        tmp_path / "events.csv"
    )
    assert run(["prepare", str(tmp_path), "--out", str(tmp_path / "out"), "--split", "user"]) == 0
    assert "warning: there is no items table" in capsys.readouterr().err


def test_own_files_are_imported_and_the_next_command_works(tmp_path, capsys):
    rows = [f"{n % 9},{n % 12},{n % 5 + 1},{1_500_000_000 + n}\n" for n in range(200)]
    (tmp_path / "ratings.csv").write_text("userId,movieId,rating,timestamp\n" + "".join(rows) + "1,2,,never\n")
    (tmp_path / "movies.csv").write_text("movieId,title,genres\n" + "".join(f"{n},T {n},a|b\n" for n in range(12)))
    out = tmp_path / "own shop"
    call = ["import", str(tmp_path / "ratings.csv"), "--items", str(tmp_path / "movies.csv"), "--out", str(out)]
    assert run([*call, "--map", "movieId=item_id"]) == 0
    printed = capsys.readouterr().out
    assert "userId     user_id    whole numbers" in printed
    assert "1 × timestamp 'never' is not written as seconds since 1970 (line 202)" in printed
    assert "times: " not in printed, "of 2017"
    assert "topics: " not in printed, "both have enough items"
    command = shlex.split(printed.splitlines()[-1].removeprefix("next: multitudes "))
    assert command[-4:] == ["--split", "user", "--min-rating", "3.5"]
    assert run(command) == 0
    assert PreparedData.open(tmp_path / "prepared").manifest["config"]["min_rating"] == 3.5
    assert run([*call, "--overwrite", "--map", "film=item_id"]) == 3
    assert "no table for it has a column 'film'" in capsys.readouterr().err


def test_an_import_says_that_actions_count_alike_and_how_many_topics_are_rare_with_the_options_for_both(
    tmp_path, capsys
):
    rows = [f"{n % 9},{n % 12},{(n % 3 and 'view') or 'buy'},{1_500_000_000 + n}\n" for n in range(200)]
    (tmp_path / "log.csv").write_text("user,item,action,ts\n" + "".join(rows) + "1,2,hide,1500000300\n")
    (tmp_path / "items.csv").write_text("item,category\n" + "".join(f"{n},a > leaf {n}\n" for n in range(12)))
    call = ["import", str(tmp_path / "log.csv"), "--items", str(tmp_path / "items.csv"), "--out", str(tmp_path / "in")]
    assert run(call) == 0
    printed = capsys.readouterr().out
    assert "\nactions: view 133, buy 67 count alike as positives; prepare --set 'prepare.positive_actions={" in printed
    assert (
        "\ntopics: 12 of 13 have fewer than 5 items; prepare --set prepare.min_topic_items=5 leaves these out"
        in printed
    )
    call = ["prepare", str(tmp_path / "in"), "--split", "user", "--out", str(tmp_path / "out")]
    assert run([*call, "--set", "prepare.min_topic_items=5", "--set", "prepare.positive_actions={buy=1}"]) == 0
    printed = capsys.readouterr().out
    assert ", 1 topics, " in printed
    assert "positives: 67 of 201 events: buy 67" in printed
