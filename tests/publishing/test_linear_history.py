"""A trained run with a linear history: its release serves joined vectors, and sums what users did since."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from multitudes.batches.histories import Histories, followed_topics, gather_histories
from multitudes.batches.user_vectors import InterestKind, UserHistories, UserVectors
from multitudes.cli.main import run as command
from multitudes.data.own_items import oldest_first, positive_items
from multitudes.data.prepared import PreparedData
from multitudes.linear.ease import EaseSpectrum
from multitudes.linear.history import HistoryWeights, LinearFit, LinearHistory
from multitudes.linear.interactions import interaction_matrix
from multitudes.nn.user_tower_config import UserTowerConfig
from multitudes.publishing.publish import publish
from multitudes.release.release import Release
from multitudes.release.store import ReleaseStore
from multitudes.retrieval.config import RetrieveConfig
from multitudes.retrieval.inspection import inspect_release
from multitudes.retrieval.item_updates import add_items
from multitudes.retrieval.retriever import Retriever
from multitudes.retrieval.user_context import UserContext, UserContextBuilder
from multitudes.retrieval.user_vectors import user_vectors
from multitudes.run_record import read_record, write_record
from multitudes.state.protocol import Event, UserState
from multitudes.training.config import RunConfig, TrainConfig
from multitudes.training.loop import train
from multitudes.training.trained_run import TrainedRun
from tests.worlds import SMALL_MODEL, planted, planted_days

pytestmark = pytest.mark.usefixtures("shared_exports")
RANK, WIDTH, LENGTH = 6, SMALL_MODEL["width"], SMALL_MODEL["history"]
WEIGHTS = HistoryWeights(weight=2.0, recency=0.25)


@pytest.fixture(scope="module")
def data() -> PreparedData:
    return planted(users=60, items=90, events=1_500, niches=9)[1]


@pytest.fixture(scope="module")
def run(data: PreparedData, tmp_path_factory: pytest.TempPathFactory) -> TrainedRun:
    model = UserTowerConfig.model_validate(SMALL_MODEL)
    folder = tmp_path_factory.mktemp("run") / "run"
    train(data, RunConfig(method="joint", model=model, train=TrainConfig(epochs=1)), folder)
    LinearHistory(EaseSpectrum(interaction_matrix(data), RANK).factors(5.0), WEIGHTS).save(folder)
    write_record(folder, read_record(folder) | {"linear": True})
    return TrainedRun.open(folder)


@pytest.fixture(scope="module")
def releases(run: TrainedRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root: Path = tmp_path_factory.mktemp("releases")
    assert publish(run.path, root).largest_difference < 1e-5
    return root


def expected_sums(run: TrainedRun, items: np.ndarray, kinds: tuple[InterestKind, ...]) -> np.ndarray:
    """Return w · u of each column by a loop (K, R); the items are ordered, oldest first."""
    assert run.linear is not None
    total = np.zeros(RANK)
    for later, item in enumerate(reversed(items.tolist())):
        total += (1 + later) ** -WEIGHTS.recency * run.linear.input_IR[item].astype(np.float64)
    return np.tile(WEIGHTS.weight * total, (len(kinds), 1))


def vectors_of(contexts: list[UserContext], release: Release, topic_BC: np.ndarray) -> UserVectors:
    histories = Histories(*map(np.concatenate, zip(*(one.histories for one in contexts), strict=True)))
    return user_vectors(release, UserHistories(histories, topic_BC, None, [one.positives for one in contexts]))


def test_the_release_gives_the_joined_vectors_of_the_run(run, releases, data) -> None:
    release, users = Release.open(releases), np.arange(data.n_users)
    end_B = data.event_offset[1:]
    histories, positives = gather_histories(data, users, end_B, LENGTH), positive_items(data, users, end_B)
    topics = followed_topics(data, users)[:, : RetrieveConfig().topics_per_request]
    expected = run.user_vectors(UserHistories(histories, topics, positives=positives))
    served = vectors_of(UserContextBuilder(release).from_release(users.tolist()), release, topics)
    assert served.vectors_BKD.shape[2] == WIDTH + RANK
    np.testing.assert_allclose(
        served.vectors_BKD[served.mask_BK], expected.vectors_BKD[expected.mask_BK], rtol=1e-4, atol=1e-4
    )
    for b in range(data.n_users):
        sums_KR = expected_sums(run, positives[b], served.kinds)
        np.testing.assert_allclose(served.vectors_BKD[b, :, WIDTH:], sums_KR, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(release.index.vectors(np.arange(1, data.n_items + 1)), run.item_vectors()[1:])
    assert max(map(len, positives)) > LENGTH, "somebody's history is longer than the tower reads"


def test_hidden_items_are_in_no_sum(releases, data) -> None:
    release = Release.open(releases)
    seen, own = release.seen_items, release.own_items
    assert any(len(seen(user)) > len(own(user).item_M) for user in range(data.n_users))


def test_state_events_add_to_the_sum_of_the_release(run, releases, data) -> None:
    release = Release.open(releases)
    user, ids = 7, data.items["item_id"]
    (before,) = oldest_first(release.own_items(user))
    new, hidden = np.setdiff1d(np.arange(1, data.n_items + 1), release.seen_items(user))[:2].tolist()
    name = data.user_ids[user]
    events = (Event("a", name, ids[new - 1], 2_000_000_000), Event("b", name, ids[hidden - 1], 2_000_000_001, "hide"))
    contexts = [UserContextBuilder(release).from_state(one) for one in (UserState(name, events), UserState("nobody"))]
    assert [one.positives.tolist() for one in contexts] == [[*before.tolist(), new], []]
    assert hidden in contexts[0].seen
    vectors = vectors_of(contexts, release, np.zeros((2, 5), np.int64))
    sums_KR = expected_sums(run, np.array([*before, new]), vectors.kinds)
    np.testing.assert_allclose(vectors.vectors_BKD[0, :, WIDTH:], sums_KR, rtol=1e-4, atol=1e-5)
    assert not vectors.vectors_BKD[1, :, WIDTH:].any()


def test_a_continued_run_is_served_by_its_own_weights_over_the_days_that_were_appended(tmp_path) -> None:
    days, fitted = planted_days(), LinearFit(**WEIGHTS.model_dump(), regularisation=5.0, normalisation=0.0)
    settings = RunConfig(
        method="joint",
        model=UserTowerConfig.model_validate(SMALL_MODEL | {"linear": {"rank": RANK}}),
        train=TrainConfig(epochs=1),
        linear_fit=fitted,
    )
    train(days.early, settings, tmp_path / "before")
    call = ["train", str(days.every.path), "--continue", str(tmp_path / "before"), "--out", str(tmp_path / "after")]
    assert command(call) == 0
    continued, data = TrainedRun.open(tmp_path / "after"), days.every
    publish(continued.path, tmp_path / "releases")
    release = Release.open(tmp_path / "releases")
    contexts = UserContextBuilder(release).from_release(range(data.n_users))
    served = vectors_of(contexts, release, np.zeros((data.n_users, 5), np.int64))
    for user in range(data.n_users):
        sums_KR = expected_sums(continued, np.array(days.history(user)), served.kinds)
        np.testing.assert_allclose(served.vectors_BKD[user, :, WIDTH:], sums_KR, rtol=1e-4, atol=1e-5)
    output_IR = EaseSpectrum(interaction_matrix(data, include_validation=True), RANK).factors(5.0).output_IR
    np.testing.assert_allclose(
        release.index.vectors(np.arange(1, data.n_items + 1))[:, WIDTH:], output_IR[1:], atol=1e-4
    )


def test_a_run_with_a_linear_history_answers_in_memory_as_its_release_does(run, releases, data) -> None:
    retriever = Retriever.open(releases)
    for user in data.user_ids.to_list():
        ours, theirs = run.recommend(user, n=8), retriever.recommend(user, n=8)
        assert [one.item_id for one in ours.candidates] == [one.item_id for one in theirs.candidates]


def test_a_new_item_has_zeros_and_a_replaced_one_keeps_its_output_vector(run, releases, data, tmp_path) -> None:
    publish(run.path, tmp_path / "releases")
    known = data.items["item_id"][4]
    file = tmp_path / "items.parquet"
    items = {"item_id": [known, 999_999], "title": ["old", "new"], "topics": [[data.topics[1]]] * 2}
    pl.DataFrame(items).write_parquet(file)
    added = add_items(tmp_path / "releases", file)
    assert (added.new, added.replaced) == (1, 1)
    release = Release.open(tmp_path / "releases")
    replaced, new = release.index.vectors(np.array([5, data.n_items + 1]))
    np.testing.assert_array_equal(replaced[WIDTH:], run.item_vectors()[5, WIDTH:])
    assert not new[WIDTH:].any()
    assert new[:WIDTH].any()
    anonymous = UserContextBuilder(release).from_request([known, 999_999], [])
    vectors = vectors_of([anonymous], release, np.zeros((1, 5), np.int64))
    sums_KR = expected_sums(run, np.array([5, 0]), vectors.kinds)
    np.testing.assert_allclose(vectors.vectors_BKD[0, :, WIDTH:], sums_KR, rtol=1e-4, atol=1e-5)
    publish(run.path, tmp_path / "releases")  # the new item is carried over
    carried = Release.open(tmp_path / "releases").index.vectors(np.array([data.n_items + 1]))
    np.testing.assert_array_equal(carried[0], new)


def test_the_inspection_and_the_manifest_name_it(releases) -> None:
    findings = inspect_release(ReleaseStore(releases))
    assert [finding.text for finding in findings if finding.subject == "linear"] == [
        "a sum over the whole history in each vector, with weight 2"
    ]
    assert {finding.level for finding in findings if finding.subject != "signature"} == {"ok"}
    manifest = json.loads((ReleaseStore(releases).folder() / "manifest.json").read_text())
    assert manifest["linear"]["recency"] == 0.25
    assert "hide" not in manifest["positive_actions"]
