"""Settings of training with which nothing could be learned."""

import pytest

from multitudes.config import parse
from multitudes.errors import UsageError
from multitudes.train.config import TrainConfig


def test_a_pool_without_negatives_is_refused() -> None:
    with pytest.raises(UsageError, match=r"'uniform' = 0: .* with in_batch = 0 there would be no negatives"):
        parse(TrainConfig, {"in_batch": 0, "uniform": 0}, "here")
    for settings in ({"in_batch": 0}, {"uniform": 0}):
        parse(TrainConfig, settings, "here")
