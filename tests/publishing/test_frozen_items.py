"""A frozen item tower: the index holds the given vectors as they are, and only the user side learns."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from multitudes.cli.main import run as command
from multitudes.data.planted import PlantedConfig, plant, write_world
from multitudes.data.prepare import PrepareConfig, prepare
from multitudes.data.prepared import PreparedData
from multitudes.errors import ArtefactError, DataError, UsageError
from multitudes.publishing.publish import publish
from multitudes.release.release import Release
from multitudes.retrieval.item_updates import add_items
from multitudes.training.config import RunConfig
from multitudes.training.loop import train
from multitudes.training.trained_run import TrainedRun
from multitudes.training.warm_start import warm_start_config
from tests.worlds import SMALL_MODEL, SMALL_WORLD, planted

WIDTH = SMALL_MODEL["width"]
FROZEN = SMALL_MODEL | {"item_tower": "frozen", "neighbours": True}
TRAIN = {"epochs": 3, "batch_size": 32, "in_batch": 64, "uniform": 64, "learning_rate": 0.01, "eval_k": 10}


def config(**model: object) -> RunConfig:
    return RunConfig.model_validate({"model": FROZEN | model, "train": TRAIN})


@pytest.fixture(scope="module")
def data() -> PreparedData:
    return planted(embedding_width=WIDTH)[1]


@pytest.fixture(scope="module")
def run(data: PreparedData, tmp_path_factory: pytest.TempPathFactory) -> TrainedRun:
    return train(data, config(), tmp_path_factory.mktemp("frozen") / "run")


def with_embeddings(folder: Path, change: Any) -> PreparedData:
    """Prepare the world with other embeddings; ``change`` gets the column."""
    write_world(plant(PlantedConfig.model_validate(SMALL_WORLD | {"embedding_width": WIDTH})), folder / "data")
    items = pl.read_parquet(folder / "data" / "items.parquet")
    items.with_columns(change(items["embedding"]).alias("embedding")).write_parquet(folder / "data" / "items.parquet")
    return prepare(folder / "data", folder / "prepared", PrepareConfig(split="user"))


def test_the_index_holds_the_given_vectors_and_items_without_one_are_no_candidates(run, data, tmp_path):
    assert publish(run.path, tmp_path / "releases").largest_difference < 1e-5
    index, given = Release.open(tmp_path / "releases").index, data.item_embedding
    assert given is not None
    has_vector = np.flatnonzero(given.any(axis=1))
    assert index.ids().tolist() == has_vector.tolist()
    assert 0 < data.n_items - len(has_vector) < 10, "some items have none"
    vectors = index.vectors(has_vector)
    np.testing.assert_array_equal(vectors[:, :WIDTH], given[has_vector])
    assert vectors.shape[1] == WIDTH
    assert np.ptp(np.linalg.norm(given[has_vector], axis=1)) > 0.1, "lengths are kept"
    added = pl.DataFrame({"item_id": [10**9], "topics": [["t1"]], "embedding": [np.arange(WIDTH, dtype=np.float32)]})
    added.write_parquet(tmp_path / "new.parquet")
    add_items(tmp_path / "releases", tmp_path / "new.parquet")
    served = Release.open(tmp_path / "releases").index.vectors(np.array([data.n_items + 1]))[0]
    assert served.tolist() == [*range(WIDTH)]
    added.drop("embedding").with_columns(item_id=pl.lit(10**9 + 1)).write_parquet(tmp_path / "bare.parquet")
    with pytest.raises(DataError, match="1000000001: it has no 'embedding'"):
        add_items(tmp_path / "releases", tmp_path / "bare.parquet")


def test_only_the_user_side_learns_and_finds_more_than_over_shuffled_vectors(run, data, tmp_path):
    np.testing.assert_array_equal(run.item_vectors()[:, :WIDTH], data.item_embedding)
    other = with_embeddings(tmp_path, lambda column: column.shuffle(seed=0))
    shuffled = train(other, config(neighbours=False), tmp_path / "shuffled")
    alone = train(data, config(neighbours=False), tmp_path / "alone")
    rates = [json.loads((one.path / "run.json").read_text())["validation_hit_rate"] for one in (alone, shuffled)]
    assert rates[0] > rates[1] + 0.1, "control"


def test_vectors_that_do_not_fit_are_rejected_and_nothing_is_left(run, data, tmp_path, capsys):
    with pytest.raises(UsageError, match=r"is 16 wide and \[model\] width is 8; .* needs model.width=16"):
        train(data, config(width=8), tmp_path / "run")
    with pytest.raises(DataError, match="the items have no column 'embedding'"):
        train(planted()[1], config(), tmp_path / "run")
    broken = with_embeddings(tmp_path, lambda column: pl.Series([[float("nan")] * WIDTH] * len(column)))
    with pytest.raises(DataError, match=r"no column .embedding.|every embedding is missing"):
        train(broken, config(), tmp_path / "run")
    given = ["--set", "model.item_tower=frozen", "--set", "model.width=8"]
    assert command(["train", str(data.path), "--out", str(tmp_path / "run"), *given]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_a_warm_start_over_vectors_of_another_version_is_rejected(run, tmp_path):
    other = with_embeddings(tmp_path, lambda column: column.list.eval(pl.element() * 2))
    with pytest.raises(ArtefactError, match=r"other embeddings of items than .*; train a new run"):
        train(other, warm_start_config(run.config, run), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_recipe_of_the_page_gives_each_item_the_vector_of_the_tower(tmp_path, monkeypatch):
    page = (Path(__file__).parents[2] / "docs" / "vectors.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    write_world(plant(PlantedConfig.model_validate(SMALL_WORLD)), tmp_path / "shop" / "data")
    file = tmp_path / "shop" / "data" / "items.parquet"
    items = pl.read_parquet(file).with_row_index("price").with_columns(age=-pl.col("price").cast(pl.Float64))
    items.write_parquet(file)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(code, names)
    given = prepare("shop/data", "shop/prepared", PrepareConfig(split="user")).item_embedding
    assert given is not None
    price = torch.tensor(items["price"].to_numpy().astype(np.float32))
    with torch.no_grad():
        expected = names["tower"](torch.stack([price, -price], dim=1)).numpy()
    assert sorted(map(tuple, given[1:].tolist())) == sorted(map(tuple, expected.tolist()))
