"""Which SQL engine prepares the tables: chosen by the file or by an option, and opened with its own settings."""

from contextlib import contextmanager
from pathlib import Path

import pytest

from multitudes.cli.main import run
from multitudes.cli.prepare import engine_config
from multitudes.config import Config
from multitudes.data.duck import open_engine
from multitudes.data.engine_config import EngineConfig, open_configured_engine
from multitudes.errors import MissingError, UsageError


class LakeConfig(Config):
    """The settings of an engine of somebody else."""

    master: str = "here"


class Lake:
    """That engine; it is DuckDB, and notes how it was opened."""

    settings = LakeConfig
    opened: list[tuple[Path, LakeConfig]] = []  # noqa: RUF012 (a test reads it)

    @staticmethod
    @contextmanager
    def open(scratch: Path, config: LakeConfig):
        Lake.opened.append((scratch, config))
        with open_engine(scratch, "1GB", 1) as engine:
            yield engine


@pytest.fixture
def lake(monkeypatch: pytest.MonkeyPatch) -> None:
    """Install the kinds ``lake`` and ``spark``."""
    monkeypatch.setattr("multitudes.config.plugins", lambda _: {"lake": None, "spark": None})
    monkeypatch.setattr("multitudes.config.load_plugin", lambda *_: Lake)
    Lake.opened.clear()


def test_an_engine_of_a_plugin_is_opened_with_its_own_settings(lake, tmp_path):
    config = EngineConfig(kind="lake", options={"master": "there"})
    with open_configured_engine(config, "1GB", 1, tmp_path) as engine:
        assert engine.rows("SELECT 1") == [(1,)]
    ((scratch, settings),) = Lake.opened
    assert settings == LakeConfig(master="there")
    assert scratch.parent == tmp_path
    assert not scratch.exists()
    with open_configured_engine(None, "1GB", 1, tmp_path) as engine:
        assert engine.rows("SELECT 1") == [(1,)]
    assert len(Lake.opened) == 1, "control: DuckDB is the default"


def test_an_option_counts_more_than_the_file_and_a_master_is_sparks(lake, tmp_path):
    file = tmp_path / "multitudes.toml"
    file.write_text('[engine]\nkind = "lake"\n[engine.options]\nmaster = "there"\n')
    assert engine_config(file, None, None, {}).kind == "lake"
    assert engine_config(file, "duckdb", None, {}).kind == "duckdb"
    chosen = engine_config(file, None, "local[2]", {})
    assert (chosen.kind, chosen.options) == ("spark", {"master": "local[2]"})
    assert engine_config(None, None, None, {}) == EngineConfig()
    with pytest.raises(UsageError, match="unknown kind; did you mean 'spark'"):
        engine_config(None, "sprak", None, {})
    file.write_text('[engine]\nkind = "lake"\noptions = {mastr = "there"}\n')
    with pytest.raises(UsageError, match=r"\[engine.options\] of lake: unknown key 'mastr'; did you mean 'master'"):
        engine_config(file, None, None, {})


def test_spark_is_named_with_its_command_where_it_is_not_installed(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("multitudes.config.plugins", lambda _: {})
    with pytest.raises(MissingError, match="pip install multitudes-spark"):
        EngineConfig(kind="spark")
    assert run(["prepare", str(tmp_path), "--out", str(tmp_path / "out"), "--master", "local[2]"]) == 5
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(
        "multitudes: [engine] kind = 'spark' is in the add-on multitudes-spark, which is not installed"
    )
    assert not (tmp_path / "out").exists()
