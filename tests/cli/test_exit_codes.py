"""Each kind of failure has its exit code and is one line on stderr; what is printed where."""

import errno
import json
import os
import pty
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from multitudes.cli.main import run
from multitudes.config import SECTIONS
from tests.worlds import SMALL_TOML, planted

MAIN = [sys.executable, "-c", "from multitudes.cli.main import main; main()"]


def refused(arguments: list[str], code: int, capsys: pytest.CaptureFixture[str]) -> str:
    """Check that a call fails with ``code``, one line on stderr and nothing on stdout; return the line."""
    assert run(arguments) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert line.startswith("multitudes: ")
    assert "Traceback" not in line
    return line


def test_0_done():
    done = subprocess.run([*MAIN, "--version"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("multitudes ")


def test_an_error_is_one_write_so_that_no_other_process_writes_into_its_line():
    reads, writes = os.pipe2(os.O_DIRECT)  # each read returns one write
    assert subprocess.run([*MAIN, "nonsense"], stderr=writes, check=False).returncode == 2
    assert os.read(reads, 4_096).endswith(b"\n")
    os.close(reads)
    os.close(writes)


def test_1_unexpected_says_how_to_see_where(tmp_path, monkeypatch, capsys):
    def broken(*_, **__):
        raise RuntimeError("boom\nand more")

    monkeypatch.setattr("multitudes.data.validate.validate", broken)
    assert "RuntimeError: boom and more (this is a defect; set MULTITUDES_TRACEBACK=1" in refused(
        ["prepare", str(tmp_path), "--check"], 1, capsys
    )
    monkeypatch.setenv("MULTITUDES_TRACEBACK", "1")
    with pytest.raises(RuntimeError, match="boom"):
        run(["prepare", str(tmp_path), "--check"])


@pytest.mark.parametrize("section", SECTIONS)
def test_2_an_unknown_key_is_named_with_the_nearest(section, tmp_path, capsys):
    keys = {"model": "widht", "train": "epoch", "index": "recal", "retrieve": "blendd", "evaluate": "budget"}
    keys |= {"linear": "rnk", "pinnersage": "interest", "execution": "precisio", "engine": "knd"}
    verbs = {
        "model": ["train", "x", "--out", "y"],
        "train": ["train", "x", "--out", "y"],
        "linear": ["train", "x", "--out", "y", "--method", "linear"],
        "pinnersage": ["train", "x", "--out", "y", "--method", "pinnersage"],
        "evaluate": ["evaluate", "x"],
        "index": ["publish", "x", "--to", "y"],
        "retrieve": ["recommend", "x", "--user", "1"],
        "execution": ["train", "x", "--out", "y"],
        "prepare": ["prepare", "x", "--out", "y"],
        "engine": ["prepare", "x", "--out", "y"],
    }
    key = keys.get(section, "splitt")
    file = tmp_path / "wrong.toml"
    file.write_text(f"[{section}]\n{key} = 1\n")
    line = refused([*verbs[section], "--config", str(file)], 2, capsys)
    assert f"{file}: [{section}]: unknown key '{key}'; did you mean '" in line


def test_3_vectors_are_asked_for_where_there_are_none(tmp_path, capsys):
    call = ["train", str(planted()[1].path), "--method", "pinnersage", "--out", str(tmp_path / "run")]
    assert "the items have no column 'embedding'" in refused(call, 3, capsys)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    "arguments",
    [
        ["synth", "--events", "1000", "--topics", "3"],
        ["prepare", str(planted()[1].path.parent / "data"), "--split", "user", "--out"],
        ["train", str(planted()[1].path), "--out"],
    ],
)
@pytest.mark.parametrize("name", ["file/within", "n" * 300])
def test_2_an_output_where_nothing_can_lie(arguments, name, tmp_path, capsys):
    (tmp_path / "file").write_text("mine")
    assert "choose another path" in refused([*arguments, str(tmp_path / name)], 2, capsys)
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_2_a_section_that_is_a_value_and_a_device_that_is_not_there(tmp_path, monkeypatch, capsys):
    file, out = tmp_path / "wrong.toml", tmp_path / "run"
    call = ["train", str(planted()[1].path), "--out", str(out), "--config", str(file)]
    file.write_text("train = 3\n")
    assert f"{file}: [train]: 3: expected a table of settings" in refused(call, 2, capsys)
    file.write_text("[train]\ndevice = 'cuda'\n")
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert "torch sees no GPU here" in refused(call, 2, capsys)
    assert not out.exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["train", "{}", "--out", "{}/run"],
        ["evaluate", "{}"],
        ["report", "{}"],
        ["publish", "{}", "--to", "{}/releases"],
        ["recommend", "{}", "--user", "1"],
        ["releases", "{}"],
        ["rollback", "{}"],
        ["train", "{}/file", "--out", "{}/run"],
        ["evaluate", "{}/file"],
    ],
)
def test_4_what_is_no_artefact_is_refused_with_the_command_that_makes_one(arguments, tmp_path, capsys):
    (tmp_path / "file").write_text("no folder")
    line = refused([argument.format(tmp_path) for argument in arguments], 4, capsys)
    assert str(tmp_path) in line
    assert "multitudes " in line.removeprefix("multitudes: ")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("verb", "module"), [("train", "torch"), ("evaluate", "safetensors"), ("publish", "onnxscript"), ("demo", "altair")]
)
def test_5_a_missing_extra_is_named_with_the_command_that_installs_it(verb, module, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, module, None)  # as if it were not installed
    extra = "report" if module == "altair" else "train"
    rest = {
        "train": ["x", "--out", "y"],
        "evaluate": ["x"],
        "publish": ["x", "--to", "y"],
        "demo": ["--out", str(tmp_path / "demo")],
    }[verb]
    assert f"'{module}'; install it with: pip install 'multitudes[{extra}]'" in refused([verb, *rest], 5, capsys)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_5_a_full_disk_under_the_output(unbuffered, shared_releases):
    """A real one: /dev/full takes nothing, neither at once nor what Python kept until the end."""
    command = [*MAIN, "releases", str(shared_releases), "--json"]
    environment = os.environ | {"PYTHONUNBUFFERED": unbuffered}
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False, env=environment)
    assert done.returncode == 5
    assert [line.startswith("multitudes: no space left") for line in done.stderr.splitlines()] == [True]


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM, errno.EROFS])
def test_5_a_folder_that_may_not_be_written(number, releases, tmp_path, monkeypatch, capsys):
    (tmp_path / "ids.csv").write_text("item_id\n101\n")

    def forbidden(*_):
        raise OSError(number, os.strerror(number), "0001.log")

    monkeypatch.setattr("multitudes.release.delta_log.append_delta", forbidden)
    line = refused(["items", "remove", str(releases), str(tmp_path / "ids.csv")], 5, capsys)
    assert line.startswith(f"multitudes: 0001.log: {os.strerror(number).lower()}; let this user read and write it")


@pytest.mark.slow
def test_130_ctrl_c_in_training_saves_and_resume_ends_it(tmp_path, capsys):
    (tmp_path / "small.toml").write_text(SMALL_TOML.replace("epochs = 1", "epochs = 6\npatience = 6"))
    out = tmp_path / "run"
    call = ["train", str(planted()[1].path), "--out", str(out), "--config", str(tmp_path / "small.toml")]
    process = subprocess.Popen([*MAIN, *call], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while process.poll() is None and not (out / "checkpoint").exists():
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate()
    assert (process.returncode, stdout) == (130, "")
    said, command = stderr.strip().split("; continue with: multitudes ")
    assert said.splitlines()[-1] == "multitudes: interrupted"
    assert "--resume" in refused(call, 2, capsys)
    assert "not finished" in refused(["evaluate", str(out)], 4, capsys)
    assert run([*shlex.split(command), "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["run"] == str(out)
    epochs = [json.loads(line)["epoch"] for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert epochs == list(range(1, 7))


@pytest.mark.parametrize("terminal", [False, True])
def test_progress_is_drawn_on_a_terminal_only(terminal):
    data = planted()[1].path.parent / "data"
    reader, writer = pty.openpty() if terminal else os.pipe()
    call = [*MAIN, "prepare", str(data), "--check", "--json"]
    done = subprocess.run(call, stdout=subprocess.PIPE, stderr=writer, text=True, check=True)
    os.close(writer)
    assert isinstance(json.loads(done.stdout.splitlines()[-1]), dict)
    drawn = b""
    try:
        while chunk := os.read(reader, 65_536):
            drawn += chunk
    except OSError:  # the other end of a closed terminal
        pass
    assert (b"check" in drawn) == terminal
    assert terminal or drawn == b""
