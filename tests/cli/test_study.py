"""study as a command: mistakes are one line."""

import sys

from multitudes.cli.main import run
from tests.study.small import study_file


def test_a_study_that_is_none_or_lacks_its_extra_is_one_line(tmp_path, capsys, monkeypatch):
    assert run(["study", str(tmp_path / "nowhere.toml")]) == 2
    assert "nowhere.toml: no such configuration file; examples/quick.toml shows one" in capsys.readouterr().err
    file = study_file(tmp_path, "[data.a]\nsample = 'movielens-small'\n[methods.clusterin]\n")
    assert run(["study", str(file), "--out", str(tmp_path / "out")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "did you mean 'clustering'?" in line
    assert not (tmp_path / "out").exists()
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert run(["study", "x.toml"]) == 5
    assert "pip install 'multitudes[study]'" in capsys.readouterr().err
