"""A planted world, prepared once."""

import pytest

from multitudes.data.prepared import PreparedData
from tests.worlds import planted


@pytest.fixture(scope="session")
def prepared() -> PreparedData:
    return planted()[1]
