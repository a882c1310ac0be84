"""Each trial at a tiny size: it can tell, because its control fails; what it claims holds where no time is judged."""

from importlib.util import find_spec
from pathlib import Path

import pytest

from multitudes.progress import silent
from reliability import (
    access,
    cases,
    damage,
    drain,
    durability,
    fuzz,
    halfopen,
    overload,
    publishing,
    soak,
    store,
    swaps,
)
from tests.state.redis_server import PROGRAM, WHY_NOT

pytestmark = pytest.mark.slow
TINY = 0.001
needs_redis = pytest.mark.skipif(PROGRAM is None, reason=WHY_NOT)
needs_schemathesis = pytest.mark.skipif(find_spec("schemathesis") is None, reason=cases.WHY_NOT)


@pytest.mark.parametrize(
    "trial",
    [
        pytest.param(damage.trial, id="damage"),
        pytest.param(publishing.trial, id="publishing"),
        pytest.param(fuzz.trial, id="fuzz"),
        pytest.param(durability.trial, id="durability"),
        pytest.param(drain.trial, id="drain"),
        pytest.param(access.trial, id="access"),
        pytest.param(cases.trial, id="cases", marks=needs_schemathesis),
    ],
)
def test_what_is_claimed_holds_and_the_control_fails(trial, tmp_path: Path):
    found = trial(TINY, tmp_path, silent)
    assert found.claims
    assert [claim for claim in found.claims if not claim.shown] == []


@pytest.mark.parametrize(
    "trial",
    [
        pytest.param(store.trial, id="store", marks=needs_redis),
        pytest.param(halfopen.trial, id="halfopen"),
        pytest.param(soak.trial, id="soak"),
    ],
)
def test_where_time_is_judged_the_control_fails_all_the_same(trial, tmp_path: Path):
    found = trial(TINY, tmp_path, silent)
    assert found.claims
    assert [claim for claim in found.claims if claim.control_held] == []


def test_no_answer_fails_or_mixes_releases_where_they_change(tmp_path: Path):
    failed, mixed, *taken_up = swaps.trial(TINY, tmp_path, silent).claims
    assert failed.shown
    assert mixed.shown
    assert [claim for claim in taken_up if claim.control_held] == []


def test_overload_asks_for_multiples_of_what_was_answered(tmp_path: Path):
    found = overload.trial(TINY, tmp_path, silent)
    loads, capacities = found.figures["loads"], found.figures["capacity_per_s"]
    assert list(loads) == ["1 ×", "2 ×", "5 ×"]
    for times, load in zip(overload.TIMES, loads.values(), strict=True):
        asked_per_s = times * sum(capacities) / len(capacities)
        assert load["asked_per_s"] == pytest.approx(asked_per_s, rel=0.1, abs=1)
        asked = load["asked_per_s"] * found.figures["seconds"] * len(capacities)
        assert sum(load["statuses"].values()) == pytest.approx(asked, abs=1)
