"""A run of item vectors that exist already: what it holds, what it refuses."""

import json
from dataclasses import replace

import numpy as np
import pytest

from multitudes.errors import ArtefactError, DataError, UsageError
from multitudes.pinnersage.clustering import PinnerSageConfig
from multitudes.pinnersage.run import PinnerSageRun
from multitudes.training.runs import make_pinnersage_run, open_run
from tests.worlds import planted


@pytest.fixture(scope="module")
def data():
    return planted(embedding_width=8)[1]


def test_the_run_holds_unit_vectors_and_zeros_where_there_is_none(data, tmp_path):
    run = make_pinnersage_run(data, tmp_path / "run")
    length = np.linalg.norm(run.item_vectors(), axis=1)
    has = data.item_embedding.any(axis=1)
    assert 0 < has.sum() < data.n_items
    assert length == pytest.approx(has.astype(float), abs=1e-6)
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (record["finished"], record["items_with_vectors"], record["width"]) == (True, has.sum(), 8)
    assert isinstance(open_run(tmp_path / "run"), PinnerSageRun)


def test_vectors_of_another_run_are_copied_if_it_is_on_the_same_data(data, tmp_path):
    first = make_pinnersage_run(data, tmp_path / "first")
    second = make_pinnersage_run(data, tmp_path / "second", PinnerSageConfig(vectors=str(first.path), interests=2))
    (first.path / "vectors.npy").unlink()
    assert np.allclose(PinnerSageRun.open(second.path).item_vectors(), first.item_vectors(), atol=1e-6)
    other = make_pinnersage_run(planted(embedding_width=4)[1], tmp_path / "other")
    with pytest.raises(UsageError, match="a run on other data"):
        make_pinnersage_run(data, tmp_path / "run", PinnerSageConfig(vectors=str(other.path)))
    with pytest.raises(ArtefactError, match="no run here"):
        make_pinnersage_run(data, tmp_path / "run", PinnerSageConfig(vectors=str(tmp_path / "nowhere")))
    assert not (tmp_path / "run").exists()


def test_a_run_is_replaced_only_on_request_and_other_folders_never(data, tmp_path):
    make_pinnersage_run(data, tmp_path / "run")
    with pytest.raises(UsageError, match="exists; give another --out"):
        make_pinnersage_run(data, tmp_path / "run")
    with pytest.raises(UsageError, match="exists"):
        make_pinnersage_run(data, tmp_path / "run", PinnerSageConfig(interests=2), resume=True)
    make_pinnersage_run(data, tmp_path / "run", resume=True)
    replaced = make_pinnersage_run(data, tmp_path / "run", PinnerSageConfig(interests=2), overwrite=True)
    assert replaced.config.model.interests == 2
    (tmp_path / "thesis").mkdir()
    with pytest.raises(ArtefactError, match="no run here"):
        make_pinnersage_run(data, tmp_path / "thesis", overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run", "thesis"]


@pytest.mark.parametrize(
    ("embedding", "message"),
    [(None, "the items have no column 'embedding'"), (np.zeros((3, 4)), "every embedding is missing or zero")],
)
def test_without_vectors_no_run_is_made_and_the_old_one_stays(data, tmp_path, embedding, message):
    make_pinnersage_run(data, tmp_path / "run")
    with pytest.raises(DataError, match=message):
        make_pinnersage_run(replace(data, item_embedding=embedding), tmp_path / "run", overwrite=True)
    assert PinnerSageRun.open(tmp_path / "run").item_vectors().any()


def test_a_damaged_run_is_rejected(data, tmp_path):
    run = make_pinnersage_run(data, tmp_path / "run")
    file, short = run.path / "vectors.npy", run.item_vectors()[:-1].copy()
    file.unlink()  # the open run keeps what it has mapped
    np.save(file, short)
    with pytest.raises(ArtefactError, match=f"holds {data.n_items - 1} items; expected {data.n_items}"):
        open_run(run.path)
    file.write_bytes(b"")
    with pytest.raises(ArtefactError, match="damaged or cut short"):
        open_run(run.path)
