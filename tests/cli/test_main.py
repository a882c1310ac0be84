"""What every command has in common: exit codes, one line to stderr, results to stdout."""

import os
import re
import subprocess
import sys

import pytest
from reference.commands import all_verbs

from multitudes.cli.main import run
from multitudes.cli.output import print_table


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (["nonsense"], ""),
        (["--nonsense"], ""),
        (["train"], " train"),
        (["recommend", "x", "--nonsense"], " recommend"),
        (["recommend", "x", "--n", "many"], " recommend"),
        (["recommend", "x", "--n", "1000000000"], " recommend"),
        (["rollback", "x", "0001", "0002"], " rollback"),
    ],
)
def test_a_wrong_call_is_one_line_that_names_the_help_of_the_verb_and_exit_code_two(arguments, shown, capsys):
    assert run(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.splitlines()) == 1
    assert re.search(rf"[.?] See: multitudes{shown} --help$", captured.err.rstrip())


def test_without_a_verb_the_help_is_shown_and_names_the_sections_of_the_configuration(capsys):
    assert run([]) == 0
    captured = capsys.readouterr()
    assert "recommend" in captured.out + captured.err
    assert "defect" not in captured.err
    assert run(["train", "--help"]) == 0
    assert "[model], [train] and [execution]" in capsys.readouterr().out


@pytest.mark.parametrize(("width", "option"), [(60, "-h"), (80, "-h"), (160, "--help")])
def test_the_help_fits_the_terminal_and_cuts_no_sentence(width, option, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(width))
    for verb in ("", *all_verbs()):
        assert run([verb, option] if verb else [option]) == 0
        text = capsys.readouterr().out
        assert max(map(len, text.splitlines())) <= width
        assert "..." not in text.replace("[ARGS]...", "").replace("{FILE}...", "").replace("[FILE]...", ""), verb


def test_an_interruption_says_so_and_has_its_own_exit_code(monkeypatch, capsys):
    def interrupt(self):
        raise KeyboardInterrupt

    monkeypatch.setattr("multitudes.release.store.ReleaseStore.versions", interrupt)
    assert run(["releases", "anywhere"]) == 130
    assert capsys.readouterr().err == "multitudes: interrupted\n"


@pytest.mark.parametrize(("given", "kept"), [(None, "1"), ("3", "3")])
def test_a_service_multiplies_on_one_core_unless_told_otherwise(given, kept, tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", given or "before")  # what stood there comes back after the test
    if given is None:
        monkeypatch.delenv("OMP_NUM_THREADS")
    run(["serve", str(tmp_path / "nothing")])
    assert os.environ["OMP_NUM_THREADS"] == kept


@pytest.mark.parametrize(
    "arguments",
    [
        ["init", "s3://bucket/x"],
        ["outcomes", "logs", "s3://bucket/x.parquet"],
        ["keys", "add", "s3://bucket/keys", "--name", "ann"],
        ["state", "restore", "backup", "s3://bucket/x"],
        ["publish", "run", "--to=s3://bucket/releases"],
        ["recommend", "releases", "--all", "--out", "results", "--export", "s3://bucket/x.jsonl"],
    ],
)
def test_an_address_as_output_is_refused_and_becomes_no_folder(arguments, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run(arguments) == 2
    assert re.match(r"multitudes: s3://bucket/\S+: expected a local path, got a URL", capsys.readouterr().err)
    assert not any(tmp_path.iterdir())


def test_a_reader_who_has_left_is_no_error():
    reading, writing = os.pipe()
    os.close(reading)
    ended = subprocess.run(
        [sys.executable, "-m", "multitudes", "--version"], stdout=writing, stderr=subprocess.PIPE, check=False
    )
    os.close(writing)
    assert (ended.returncode, ended.stderr) == (0, b"")


def test_a_table_cuts_no_cell(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    path = "/".join(["releases"] * 9)
    print_table([("damaged", f"{path}: missing")])
    assert f"{path}:missing" in "".join(capsys.readouterr().out.split()).removeprefix("damaged")
