"""Sampled users: each interest names its own history, and no candidate was seen."""

from types import SimpleNamespace

import pytest

from multitudes.batches.held_out import held_out_users
from multitudes.evaluation.samples import sample_users
from multitudes.retrieval.config import RetrieveConfig
from tests.evaluation.worlds import FakeRun, prepared

CONFIG = RetrieveConfig(blend="round_robin", unconditioned_share=0, explicit_share=0)


@pytest.fixture
def people(tmp_path):
    """Return one user with history 1 to 4, newest last, and targets 1 (seen), 7 and 8."""
    data = prepared(tmp_path, [[1, 2, 3, 4]], [[7]], [[1], [2]] * 5, follows=[[1]])
    run = FakeRun(
        tmp_path, data, [[1, 8]], config=SimpleNamespace(method="x", seed=0, model=SimpleNamespace(history=10))
    )
    return lambda kind: sample_users(run, held_out_users(data, "test"), kind, CONFIG, budget=2).users


def test_each_interest_shows_its_own_history_newest_first(people):
    (person,) = people("new")
    assert [interest["items"] for interest in person["interests"]] == [["item 3", "item 1"], ["item 4", "item 2"]]
    assert [interest["name"] for interest in person["interests"]] == ["topic 1", "topic 2"]
    assert (person["user_id"], person["events"], person["follows"]) == (100, 4, ["topic 1"])


def test_seen_items_are_candidates_only_for_all_targets(people):
    shown = {kind: [candidate["title"] for candidate in people(kind)[0]["candidates"]] for kind in ("new", "all")}
    assert "item 1" in shown["all"]
    assert not {"item 1", "item 2", "item 3", "item 4"} & set(shown["new"])
    assert "item 8" in shown["new"]


def test_the_history_is_newest_first_with_its_interests_and_candidates_name_theirs(people):
    (person,) = people("new")
    history = [(event["title"], event["interest"], event["time_s"]) for event in person["history"]]
    assert history == [("item 4", 1, 3), ("item 3", 0, 2), ("item 2", 1, 1), ("item 1", 0, 0)]
    candidates = {one["title"]: one for one in person["candidates"]}
    assert candidates["item 8"]["brought_by"] == 1
    assert set(candidates["item 8"]["because"]) <= {"item 2", "item 4"}
