"""The small experiments, each on a tiny world."""

import numpy as np
import pytest
from benchmarks.index import tried
from benchmarks.index.tried import EXPERIMENTS
from benchmarks.index.world import World, make

from multitudes.index import inverted
from multitudes.index.engine import DEFAULT_TARGET
from multitudes.index.live import LiveIndex

ITEMS = 4_000


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> World:
    folder = tmp_path_factory.mktemp("world")
    make(str(folder), "latent", ITEMS, 16, 4, related=True)
    opened = World.open(folder)
    (folder / "inverted").mkdir()
    promise = DEFAULT_TARGET._replace(deepest=200)
    LiveIndex(inverted.build(opened.ids(), opened.item_nD, queries=opened.tuning_QD, target=promise)).save(
        folder / "inverted"
    )
    return opened


@pytest.mark.parametrize("name", list(EXPERIMENTS))
def test_each_experiment_gives_figures_of_every_variant(name: str, world: World, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tried, "_LOADS", 2)
    figures = EXPERIMENTS[name](world, world.folder / "inverted")
    assert len(figures) >= 2
    assert all(np.isfinite(value) and value > 0 for value in figures.values())


def test_related_vectors_probe_fewer_lists_together_than_each_for_itself(world: World):
    counted = EXPERIMENTS["union"](world, world.folder / "inverted")
    assert counted["each"] < counted["together"] < 12 * counted["each"]
    alike = np.repeat(world.user_BKD[:, :1], 12, axis=1)
    same = EXPERIMENTS["union"](world._replace(user_BKD=alike), world.folder / "inverted")
    assert same["together"] == same["each"], "the control: twelve times the same vector"
