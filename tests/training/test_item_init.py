"""Item embeddings that begin with what users have in common."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.sparse import coo_array, csr_array

from multitudes.data.prepared import PreparedData
from multitudes.linear.interactions import GramMatrix, interaction_matrix, item_factors
from multitudes.nn.two_tower import TwoTower
from multitudes.nn.user_tower_config import UserTowerConfig
from multitudes.run_record import read_record
from multitudes.training.config import RunConfig, TrainConfig
from multitudes.training.loop import train
from multitudes.training.step import initial_state, initialize_items
from multitudes.training.trained_run import build_model
from tests.worlds import planted

WIDTH = 16


def untrained(prepared: PreparedData) -> TwoTower:
    torch.manual_seed(0)
    return build_model(prepared, "transformer", UserTowerConfig(width=WIDTH, history=10))


def hit_rate(prepared: PreparedData, folder: Path, item_init: str) -> float:
    settings = {"epochs": 1, "epoch_batches": 8, "batch_size": 32, "eval_k": 10, "item_init": item_init}
    model = UserTowerConfig.model_validate(
        {"width": WIDTH, "history": 10, "crossing": {"hidden": 0}, "neighbours": False}
    )
    config = RunConfig(method="transformer", model=model, train=TrainConfig.model_validate(settings))
    return float(read_record(train(prepared, config, folder).path)["validation_hit_rate"])


def test_items_of_one_niche_begin_near_each_other(prepared):
    niche_I = planted()[0].item_niche[prepared.items["item_id"].to_numpy()]
    factors_IR = item_factors(interaction_matrix(prepared), WIDTH)[1:]
    unit_IR = factors_IR / np.linalg.norm(factors_IR, axis=1, keepdims=True).clip(min=1e-9)
    cosine_II = unit_IR @ unit_IR.T
    is_other_II = ~np.eye(len(unit_IR), dtype=np.bool_)

    def margin(niche_I: np.ndarray) -> float:
        is_same_II = niche_I[:, None] == niche_I
        return float(cosine_II[is_same_II & is_other_II].mean() - cosine_II[~is_same_II].mean())

    assert margin(niche_I) > 0.2
    assert abs(margin(np.random.default_rng(0).permutation(niche_I))) < 0.05, "the control: niches at random"


def test_a_short_training_finds_more_and_not_from_shuffled_items(tmp_path, monkeypatch):
    prepared = planted(users=400, items=600, events=16_000, niches=40, topics=10)[1]
    random, svd = (hit_rate(prepared, tmp_path / how, how) for how in ("random", "svd"))
    order = np.append(0, 1 + np.random.default_rng(0).permutation(prepared.n_items))
    monkeypatch.setattr("multitudes.training.step.item_factors", lambda *args: item_factors(*args)[order])
    assert svd > 1.1 * max(random, hit_rate(prepared, tmp_path / "shuffled", "svd"))


def test_the_scale_is_that_of_random_embeddings_and_columns_without_factors_stay_random(prepared):
    unused = 7
    is_first = prepared.event_first & (prepared.event_item != unused)
    model, before = untrained(prepared), untrained(prepared).items.id_embedding.weight.detach()
    initialize_items(model, dataclasses.replace(prepared, event_first=is_first), include_validation=False)
    after = model.items.id_embedding.weight.detach()
    assert torch.equal(after[[0, unused]], before[[0, unused]])
    assert after.std() == pytest.approx(float(before.std()), rel=0.1)
    matrix = csr_array(np.array([[0, 1, 1], [0, 1, 0]], dtype=np.float32))
    assert item_factors(matrix, WIDTH).shape == (3, 2)
    assert item_factors(csr_array((2, 1), dtype=np.float32), WIDTH).shape == (1, 0)


def test_the_factors_are_those_of_a_full_decomposition():
    rng = np.random.default_rng(0)
    dense = (rng.random((60, 40)) < 0.2 + 0.6 * (np.arange(40) % 4 == np.arange(60)[:, None] % 4)).astype(np.float32)
    dense[:, 0] = 0
    scaled = dense / np.sqrt(dense.sum(axis=1, keepdims=True) * np.maximum(dense.sum(axis=0), 1))
    _, value, right = np.linalg.svd(scaled)
    found = item_factors(csr_array(dense), 3)
    np.testing.assert_allclose(found @ found.T, right[:3].T @ np.diag(value[:3]) @ right[:3], atol=1e-3)


def test_singular_values_that_hardly_differ_take_no_more_products_than_others(monkeypatch):
    multiplied, product = list[int](), GramMatrix.__matmul__

    def counted(gram: GramMatrix, vectors_IN: np.ndarray) -> np.ndarray:
        multiplied.append(vectors_IN.shape[1])
        return product(gram, vectors_IN)

    monkeypatch.setattr(GramMatrix, "__matmul__", counted)
    users, items = 4_000, 10_000  # a user has 5 of them, drawn evenly: no direction stands out
    item_UN = 1 + np.random.default_rng(0).integers(items, size=(users, 5))
    matrix = coo_array((np.ones(item_UN.size, dtype=np.float32), (np.repeat(np.arange(users), 5), item_UN.ravel())))
    factors_IR = item_factors((matrix.tocsr() > 0).astype(np.float32), 64)
    assert factors_IR.any(axis=1).sum() == len(np.unique(item_UN))
    assert sum(multiplied) <= 2 * 128 + 16, "a basis of twice 128 vectors, and its start"


def test_the_setting_chooses(prepared):
    def table(**settings) -> torch.Tensor:
        model = UserTowerConfig(width=WIDTH, history=10)
        config = RunConfig(method="transformer", model=model, train=TrainConfig(**settings))
        return initial_state(prepared, config).model.items.id_embedding.weight

    assert torch.equal(table(), table(item_init="svd"))
    assert not torch.equal(table(), table(item_init="random"))
