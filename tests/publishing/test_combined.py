"""Two models as one release: it serves what was evaluated, without torch, and new items get the vectors of both."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from multitudes.batches.histories import followed_topics, gather_histories
from multitudes.batches.user_vectors import UserHistories
from multitudes.data.own_items import positive_items
from multitudes.data.prepared import PreparedData
from multitudes.publishing.onnx_export import vectors_without_ids
from multitudes.publishing.publish import publish
from multitudes.release.release import Release
from multitudes.retrieval.config import RetrieveConfig
from multitudes.retrieval.item_updates import add_items
from multitudes.retrieval.retriever import Retriever
from multitudes.retrieval.user_vectors import user_vectors
from multitudes.training.combined import CombinedRun, combine
from tests.training.test_combined import CLUSTERING, CONDITIONAL, trained

SERVED = RetrieveConfig(blend="round_robin", explicit_share=0.5, calibration=0)


@pytest.fixture(scope="module")
def run(prepared: PreparedData, tmp_path_factory: pytest.TempPathFactory) -> CombinedRun:
    folder = tmp_path_factory.mktemp("runs")
    trained(prepared, folder / "clustering", "clustering", **CLUSTERING)
    trained(prepared, folder / "conditional", "conditional", **CONDITIONAL)
    return combine(folder / "clustering", folder / "conditional", folder / "both")


@pytest.fixture(scope="module")
def releases(run: CombinedRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root: Path = tmp_path_factory.mktemp("releases")
    assert publish(run.path, root, retrieve=SERVED).largest_difference < 1e-5
    return root


def test_the_release_gives_the_vectors_of_the_run(run: CombinedRun, releases: Path, prepared: PreparedData) -> None:
    release, users, end_B = Release.open(releases), np.arange(prepared.n_users), prepared.event_offset[1:]
    histories, positives = gather_histories(prepared, users, end_B, 10), positive_items(prepared, users, end_B)
    topics = followed_topics(prepared, users)[:, :5]
    expected = run.user_vectors(UserHistories(histories, topics, positives=positives))
    served = user_vectors(release, UserHistories(histories, topics, positives=positives))
    assert served.kinds == expected.kinds == run.kinds(5)
    np.testing.assert_array_equal(served.mask_BK, expected.mask_BK)
    np.testing.assert_array_equal(served.assignment_BL, expected.assignment_BL)
    np.testing.assert_allclose(
        served.vectors_BKD[served.mask_BK], expected.vectors_BKD[expected.mask_BK], rtol=1e-4, atol=1e-4
    )
    np.testing.assert_array_equal(release.index.vectors(np.arange(1, prepared.n_items + 1)), run.item_vectors()[1:])


def test_both_models_bring_candidates(releases: Path) -> None:
    answers = list(Retriever.open(releases).recommend_all(n=10))
    sources = [candidate.source for answer in answers for candidate in answer.candidates]
    assert all(len(answer.candidates) == 10 for answer in answers)
    assert min(sources.count("implicit"), sources.count("explicit")) > len(sources) / 4


def test_a_new_item_gets_the_vectors_of_both_models(run: CombinedRun, releases: Path, tmp_path: Path) -> None:
    number = 5
    like = run.prepared.items.row(number - 1, named=True)
    topics = [run.prepared.topics[t] for t in run.prepared.item_topic[slice(*run.prepared.item_topic_offset[5:7])]]
    new = pl.DataFrame({"item_id": [99_999], "title": [like["title"]], "topics": [topics]})
    new.write_parquet(tmp_path / "new.parquet")
    add_items(releases, tmp_path / "new.parquet")
    release = Release.open(releases)
    (vector_D,) = release.index.vectors(release.item_names.numbers([99_999]))
    _, expected = vectors_without_ids(run, np.array([number]))
    np.testing.assert_allclose(vector_D, expected[0], rtol=1e-4, atol=1e-4)
    assert expected[0, :16].any()
    assert expected[0, 16:].any()
