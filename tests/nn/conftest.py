"""A test draws the same numbers, whichever tests ran before it in the process."""

import pytest
import torch


@pytest.fixture(autouse=True)
def _first_draws() -> None:
    torch.manual_seed(0)
