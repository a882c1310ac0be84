"""Where an index is: what the choice needs, without a server."""

import sys

import numpy as np
import pytest

from multitudes.errors import MissingError
from multitudes.index.build import IndexConfig
from multitudes.index.live import Live
from multitudes.index.place import build, released


def test_an_engine_that_is_not_installed_is_named_with_its_command(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "pymilvus", None)
    for name in [name for name in sys.modules if name.startswith("multitudes.index.milvus.")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(MissingError, match=r"pip install 'multitudes\[milvus\]'"):
        build([1], np.ones((1, 2)), IndexConfig(kind="milvus"))
    assert isinstance(build([1], np.ones((1, 2)), IndexConfig()), Live)  # the control: nothing else needs it


def test_an_embedded_index_is_told_to_nobody():
    index = build([1], np.ones((1, 2)), IndexConfig())
    with released(index):
        pass
    with pytest.raises(KeyError), released(index):
        raise KeyError
