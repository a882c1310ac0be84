"""The release of a run that the test module gives as ``run``."""

from pathlib import Path
from typing import Any

import pytest

from multitudes.publishing.publish import publish


@pytest.fixture(scope="module")
def releases(run: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root: Path = tmp_path_factory.mktemp("releases")
    assert publish(run.path, root).largest_difference == 0
    return root
