"""The method ``followed``: the most popular items of each followed topic, in turns, evaluated and from a release."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from multitudes.batches.held_out import held_out_users, seen_items
from multitudes.cli.main import run as command
from multitudes.data.prepare import PrepareConfig, prepare
from multitudes.data.prepared import PreparedData
from multitudes.errors import DataError, UsageError
from multitudes.evaluation.config import EvaluateConfig
from multitudes.evaluation.evaluate import evaluate
from multitudes.index.factory import IndexConfig
from multitudes.linear.followed import FollowedRun, make_followed_run
from multitudes.linear.popularity import user_counts
from multitudes.publishing.publish import publish
from multitudes.release.release import USER_TOWER, Release
from multitudes.retrieval.config import RetrieveConfig, with_run_defaults
from multitudes.retrieval.item_updates import add_items
from multitudes.retrieval.retriever import Retriever
from multitudes.retrieval.scorer import catalogue, user_vectors
from multitudes.retrieval.search import find_candidates
from multitudes.training.runs import open_run

N = 8


@pytest.fixture(scope="module")
def run(prepared: PreparedData, tmp_path_factory: pytest.TempPathFactory) -> FollowedRun:
    return make_followed_run(prepared, tmp_path_factory.mktemp("run") / "run")


def popular_in(prepared: PreparedData, topic: int, seen: set[int]) -> list[int]:
    """Return the unseen items of a topic, those of most users first, by a loop."""
    first, count_I = prepared.item_topic_offset, user_counts(prepared)
    items = [i for i in range(1, prepared.n_items + 1) if topic in prepared.item_topic[first[i] : first[i + 1]]]
    return sorted((i for i in items if i not in seen), key=lambda item: -count_I[item])


def test_each_followed_topic_brings_its_most_popular_unseen_items(run: FollowedRun, prepared: PreparedData) -> None:
    held = held_out_users(prepared, "validation")
    seen = seen_items(prepared, held)
    config = with_run_defaults(RetrieveConfig(), run.list_defaults)
    items = catalogue(run, run.item_vectors())
    vectors = user_vectors(run, held, config, items)
    counts, with_topics = user_counts(prepared), 0
    for b, found in enumerate(find_candidates(vectors, items, N, seen, config)):
        topics = vectors.topic_BK[b][vectors.mask_BK[b]].tolist()
        with_topics += bool(topics)
        for turn, column in zip(found.item_N.tolist(), found.interest_N.tolist(), strict=True):
            own = column < 0 or int(vectors.topic_BK[b, column]) in topics
            assert own
            assert turn not in set(seen[b].tolist())
        for column in np.flatnonzero(vectors.mask_BK[b]).tolist():
            mine = found.item_N[found.interest_N == column]
            taken = set(found.item_N[found.interest_N != column].tolist())
            best = popular_in(prepared, int(vectors.topic_BK[b, column]), set(seen[b].tolist()) | taken)
            assert counts[mine].tolist() == counts[best[: len(mine)]].tolist()
            assert set(mine.tolist()) <= set(best)
    assert 0 < with_topics < len(held), "users without topics are among them: they get popular items"


def test_the_release_serves_the_same_without_a_tower_or_torch(run: FollowedRun, releases: Path, prepared: PreparedData):
    release = Release.open(releases)
    assert not (release.path / USER_TOWER).exists()
    has_topic = np.flatnonzero(np.diff(prepared.item_topic_offset))
    np.testing.assert_array_equal(release.index.ids(), has_topic)
    np.testing.assert_array_equal(release.index.vectors(has_topic), run.item_vectors()[has_topic])
    code = f"""
import sys
sys.modules["torch"] = None
from multitudes.retrieval.retriever import Retriever
retriever = Retriever.open({str(releases)!r})
topics = {prepared.topics[1:3]!r}
answer = retriever.recommend(followed_topics=topics, n=6)
assert sorted(i.name for i in answer.interests) == topics, answer.interests
assert [c.source for c in answer.candidates] == ["explicit"] * 6
assert [c.interest for c in answer.candidates] == [0, 1, 0, 1, 0, 1]
nobody = retriever.recommend(history=[{prepared.items["item_id"][0]!r}], n=6)
assert {{c.source for c in nobody.candidates}} == {{"popular"}}
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    candidates = Retriever.open(releases).recommend(followed_topics=[prepared.topics[1]], n=5).candidates
    number = {item: i for i, item in enumerate(prepared.items["item_id"], start=1)}
    expected = [user_counts(prepared)[item] for item in popular_in(prepared, 1, set())[:5]]
    assert [user_counts(prepared)[number[c.item_id]] for c in candidates] == expected
    assert [c.score for c in candidates] == [1 + users for users in expected]


def test_an_approximate_index_finds_the_same(run: FollowedRun, releases: Path, prepared: PreparedData, tmp_path: Path):
    publish(run.path, tmp_path, index=IndexConfig(kind="inverted"))
    for topic in prepared.topics[1:]:
        exact, approximate = (
            [c.score for c in Retriever.open(root).recommend(followed_topics=[topic], n=N).candidates]
            for root in (releases, tmp_path)
        )
        assert approximate == exact


def test_it_is_evaluated_as_any_other_method_and_beats_popularity_where_topics_are_tastes(run: FollowedRun) -> None:
    evaluation = evaluate(run, EvaluateConfig(split="validation", budgets=(N,)))
    methods = evaluation.result["methods"]
    rates = {name: methods[name][f"hr@{N}"]["mean"] for name in ("followed", "popularity")}
    assert rates["followed"] > 1.5 * rates["popularity"]
    assert evaluation.result["interests"]["sources"][1]["source"] == "explicit"


def test_new_items_wait_for_users_and_data_without_topics_is_refused(releases: Path, tmp_path: Path) -> None:
    new = pl.DataFrame({"item_id": [99_999], "title": ["new"], "topics": [["topic-001"]]})
    new.write_parquet(tmp_path / "n.parquet")
    with pytest.raises(UsageError, match="come from the users of the training data"):
        add_items(releases, tmp_path / "n.parquet")
    (tmp_path / "tables").mkdir()
    events = {"user_id": [1, 1, 1, 2, 2, 2], "item_id": [1, 2, 3, 2, 3, 1], "timestamp": [1, 2, 3, 4, 5, 6]}
    pl.DataFrame(events).write_parquet(tmp_path / "tables" / "events.parquet")
    bare = prepare(tmp_path / "tables", tmp_path / "prepared", PrepareConfig(split="user"))
    with pytest.raises(DataError, match="no item has a topic; give the items a column 'topics'"):
        make_followed_run(bare, tmp_path / "run")


def test_the_command_makes_it_and_resumes(prepared: PreparedData, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    call = ["train", str(prepared.path), "--method", "followed", "--out", str(tmp_path / "run"), "--seed", "3"]
    assert command(call) == 0
    assert "followed, 148 of 150 items in 6 topics" in capsys.readouterr().out
    assert command(call) == 2
    assert command([*call, "--overwrite", "--set", "followed.recent=true"]) == 2
    assert "the method followed has no settings; leave it out" in capsys.readouterr().err
    assert command([*call, "--resume", "--json"]) == 0
    opened = open_run(tmp_path / "run")
    assert isinstance(opened, FollowedRun)
    assert opened.config.seed == 3
