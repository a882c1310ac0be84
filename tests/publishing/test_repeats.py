"""A release of data with repeats holds what they need, and a batch is answered as each user alone."""

from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from multitudes.batch_inference.recommender import BatchConfig, BatchRecommender
from multitudes.data.own_items import prepared_items
from multitudes.data.prepare import PrepareConfig, prepare
from multitudes.data.prepared import PreparedData
from multitudes.pinnersage.clustering import PinnerSageConfig
from multitudes.publishing.publish import publish
from multitudes.release.release import Release
from multitudes.release.store import ReleaseStore
from multitudes.repeats import fit_repeats
from multitudes.retrieval.config import RetrieveConfig
from multitudes.retrieval.inspection import inspect_release
from multitudes.retrieval.request import Request
from multitudes.retrieval.retriever import Retriever
from multitudes.training.runs import make_pinnersage_run


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    """Users who buy the same few items again and again, and now and then another one."""
    folder, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    (folder / "tables").mkdir()
    names = np.array([f"{kind}-{k}" for kind in ("milk", "bread", "soap") for k in range(20)])
    rows = []
    for user in range(40):
        regular = rng.choice(names, 4, replace=False)
        items = [rng.choice(regular if rng.random() < 0.7 else names) for _ in range(20)]
        rows += [(f"u{user}", item, 1000 * place) for place, item in enumerate(items)]
    events = pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row")
    events.write_parquet(folder / "tables" / "events.parquet")
    table = {"item_id": names, "topics": [[name.split("-")[0]] for name in names]}
    vectors = rng.normal(size=(len(names), 4)).astype(np.float32)
    pl.DataFrame(table).with_columns(pl.Series("embedding", vectors.tolist())).write_parquet(
        folder / "tables" / "items.parquet"
    )
    prepare(folder / "tables", folder / "prepared", PrepareConfig(split="user", min_item_count=1))
    return PreparedData.open(folder / "prepared")


@pytest.fixture(scope="module")
def releases(data: PreparedData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root: Path = tmp_path_factory.mktemp("releases")
    run = make_pinnersage_run(data, root / "run", PinnerSageConfig(history=3, interests=2))
    publish(run.path, root / "releases", retrieve=RetrieveConfig(exclude_seen=False))
    return root / "releases"


def test_the_whole_history_is_counted_not_the_events_that_a_tower_reads(data: PreparedData, releases: Path):
    release = Release.open(releases)
    model = fit_repeats(data)
    assert model is not None
    assert release.manifest.repeats == model.model_dump(mode="json")
    assert release.manifest.positive_actions == ("event",)
    own = prepared_items(data, np.arange(data.n_users), data.event_offset[1:])
    assert own.count_M.max() > release.manifest.history_length
    for name, array in zip(("own_offset", "own_item", "own_count", "own_newest", "own_oldest"), own, strict=True):
        assert getattr(release, name).tolist() == array.tolist(), name
    assert any(finding.subject == "repeats" for finding in inspect_release(ReleaseStore(releases)))


def test_batches_are_answered_as_alone(data: PreparedData, releases: Path):
    users = data.user_ids.to_list()[:12]
    batch = pa.RecordBatch.from_pydict({"user_id": [*users, "new"], "history": [None] * 12 + [["milk-0", "milk-0"]]})
    rows = BatchRecommender(releases, BatchConfig(n=6)).recommend(batch).to_pylist()
    requests = [*(Request(user, n=6) for user in users), Request(history=["milk-0", "milk-0"], n=6)]
    answers = Retriever.open(releases).answer(requests)
    names = ("item_id", "source", "interest", "interest_name")
    for row, answer in zip(rows, answers, strict=True):
        assert [[one[name] for name in names] for one in row["candidates"]] == [
            [getattr(one, name) for name in names] for one in answer.candidates
        ]
    sources = {one["source"] for row in rows for one in row["candidates"]}
    assert sources == {"repeat", "implicit"}
