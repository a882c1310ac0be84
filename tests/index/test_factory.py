"""Building and opening an index of any kind, without a server."""

import json
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest

from multitudes.config import Config, parse
from multitudes.errors import MissingError, UsageError
from multitudes.index.factory import IndexConfig, build_index, load_index
from multitudes.index.files import write_description
from multitudes.index.live import LiveIndex


class ShelfConfig(Config):
    """The settings of a kind of index of somebody else."""

    width: int = 1


@pytest.fixture
def shelf(monkeypatch: pytest.MonkeyPatch) -> Mock:
    """Install the kind ``shelf``; return what its entry point names."""
    kind = Mock(settings=ShelfConfig)
    for module in ("multitudes.config", "multitudes.index.factory"):
        monkeypatch.setattr(f"{module}.plugins", lambda _: {"shelf": None})
        monkeypatch.setattr(f"{module}.load_plugin", lambda *_: kind)
    return kind


def test_a_kind_of_a_plugin_is_built_with_its_own_settings_and_opened(shelf: Mock, tmp_path: Path):
    config = IndexConfig(kind="shelf", options={"width": 3}, recall=0.9)
    assert build_index([1], np.ones((1, 2)), config) is shelf.build.return_value
    assert shelf.build.call_args.args[2] == ShelfConfig(width=3)
    assert shelf.build.call_args.kwargs["recall"] == 0.9
    write_description(tmp_path, {"kind": "shelf"})
    assert load_index(tmp_path) is shelf.open.return_value
    with pytest.raises(UsageError, match=r"\[index.options\] of shelf: unknown key 'widht'; did you mean 'width'"):
        IndexConfig(kind="shelf", options={"widht": 3})


def test_a_kind_that_is_not_installed_is_named_with_its_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    for module in ("multitudes.config", "multitudes.index.factory"):
        monkeypatch.setattr(f"{module}.plugins", lambda _: {})
    with pytest.raises(MissingError, match=r"not installed; .*multitudes-milvus .*\./packages/milvus"):
        IndexConfig(kind="milvus")
    write_description(tmp_path, {"kind": "milvus"})
    with pytest.raises(MissingError, match="pip install multitudes-milvus"):
        load_index(tmp_path)
    with pytest.raises(UsageError, match="unknown kind; did you mean 'inverted'"):
        parse(IndexConfig, {"kind": "invertd"}, "here")
    assert isinstance(build_index([1], np.ones((1, 2)), IndexConfig()), LiveIndex)  # the control: nothing else needs it


def test_opening_reads_the_description_once_and_leaves_the_ids_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    built = build_index([3, 1], np.ones((2, 2)), IndexConfig())
    built.save(tmp_path)
    read = Mock(side_effect=json.loads)
    monkeypatch.setattr(json, "loads", read)
    index = load_index(tmp_path)
    read.assert_called_once_with((tmp_path / "index.json").read_text())
    assert index.ids().tolist() == [1, 3]
    assert not index.ids().flags.writeable
    assert built.ids().flags.writeable, "control: in memory"
