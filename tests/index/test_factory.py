"""Building and opening an index of any kind, without a server."""

import json
import sys
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest

from multitudes.errors import MissingError, UsageError
from multitudes.index.factory import IndexConfig, activate_on_success, build_index, load_index
from multitudes.index.live import LiveIndex
from multitudes.index.milvus.config import MilvusConfig, published_settings, settings_to_open


def test_an_engine_that_is_not_installed_is_named_with_its_command(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "pymilvus", None)
    for name in [name for name in sys.modules if name.startswith("multitudes.index.milvus.")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(MissingError, match=r"pip install 'multitudes\[milvus\]'"):
        build_index([1], np.ones((1, 2)), IndexConfig(kind="milvus"))
    assert isinstance(build_index([1], np.ones((1, 2)), IndexConfig()), LiveIndex)  # the control: nothing else needs it


def test_an_embedded_index_needs_no_activation():
    index = build_index([1], np.ones((1, 2)), IndexConfig())
    with activate_on_success(index):
        pass
    with pytest.raises(KeyError), activate_on_success(index):
        raise KeyError


def test_opening_reads_the_description_once_and_leaves_the_ids_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    built = build_index([3, 1], np.ones((2, 2)), IndexConfig())
    built.add([2], np.ones((1, 2)))
    built.save(tmp_path)
    read = Mock(side_effect=json.loads)
    monkeypatch.setattr(json, "loads", read)
    index = load_index(tmp_path)
    read.assert_called_once_with((tmp_path / "index.json").read_text())
    assert index.ids().tolist() == [1, 2, 3]
    assert isinstance(index, LiveIndex)
    assert isinstance(built, LiveIndex)
    assert not index.segment.ids().flags.writeable
    assert built.segment.ids().flags.writeable, "control: in memory"


def test_a_release_names_neither_server_nor_token():
    """The environment of the process alone names the server, and ``MILVUS_TOKEN`` alone is sent to it."""
    published = published_settings(MilvusConfig(uri="http://elsewhere:1", token_variable="SECRET", timeout_s=7))
    assert not {"uri", "token_variable"} & published.keys()
    opened = settings_to_open(published, {"MILVUS_URI": "http://ours:2"})
    assert (opened.uri, opened.token_variable, opened.timeout_s) == ("http://ours:2", "MILVUS_TOKEN", 7)
    assert settings_to_open(published, {}).uri == MilvusConfig().uri
    with pytest.raises(UsageError, match="environment MILVUS_URI: "):
        settings_to_open(published, {"MILVUS_URI": "ours"})
