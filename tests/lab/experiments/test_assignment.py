"""The test for sample ratio mismatch: it rejects arms that are not as large as planned, and only those."""

import numpy as np
import pytest

from multitudes_lab.experiments.assignment import check_sample_ratio
from tests.lab.experiments.draws import is_found, sums


@pytest.mark.parametrize(
    ("sizes", "planned", "ok"),
    [
        ((505_000, 495_000), (1, 1), False),
        ((501_000, 499_000), (1, 1), True),
        ((9_020, 980), (90, 10), True),
        ((9_020, 980), (1, 1), False),
    ],
)
def test_arms_that_are_not_as_large_as_planned_are_a_mismatch(sizes, planned, ok):
    users, plan = (dict(zip(("control", "new"), figures, strict=True)) for figures in (sizes, planned))
    assert check_sample_ratio(users, plan).ok == ok


def test_a_mismatch_of_half_a_percent_is_found_at_a_million_users_and_not_by_the_lift():
    for share, mismatches in ((0.5, 0), (0.505, 50)):
        sizes = np.random.default_rng(0).binomial(1_000_000, share, 50)
        checks = [check_sample_ratio({"a": int(n), "b": 1_000_000 - int(n)}, {"a": 1, "b": 1}) for n in sizes]
        assert sum(not check.ok for check in checks) == mismatches
    draws = np.random.default_rng(0)
    assert not is_found(*(sums(draws.poisson(1.0, n).astype(float)) for n in (505_000, 495_000)))
