"""A planted world, and the release of a run of it that the test module gives as ``run``."""

from pathlib import Path
from typing import Any

import pytest

from multitudes.data.prepared import PreparedData
from multitudes.publishing.publish import publish
from tests.worlds import planted


@pytest.fixture(scope="session")
def data() -> PreparedData:
    return planted()[1]


@pytest.fixture(scope="module")
def releases(run: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root: Path = tmp_path_factory.mktemp("releases")
    assert publish(run.path, root).largest_difference == 0
    return root
