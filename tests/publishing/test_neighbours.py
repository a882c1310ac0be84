"""A run with neighbours: its release answers as the run does, and sums what users did since."""

import json
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from multitudes.data.prepared import PreparedData
from multitudes.errors import ArtefactError
from multitudes.linear.interactions import interaction_matrix
from multitudes.linear.neighbour_fit import fit_rows
from multitudes.linear.neighbours import NeighbourFit
from multitudes.linear.neighbours_run import make_neighbours_run
from multitudes.nn.user_tower_config import UserTowerConfig
from multitudes.publishing.publish import publish
from multitudes.release.release import Release
from multitudes.release.store import ReleaseStore
from multitudes.retrieval.inspection import inspect_release
from multitudes.retrieval.item_updates import add_items, remove_items
from multitudes.retrieval.request import Request
from multitudes.retrieval.retriever import Retriever
from multitudes.run_record import read_record, write_record
from multitudes.state.protocol import Event, UserState
from multitudes.training.config import RunConfig, TrainConfig
from multitudes.training.loop import train
from multitudes.training.trained_run import TrainedRun
from tests.worlds import SMALL_MODEL, planted

pytestmark = pytest.mark.usefixtures("shared_exports")
WEIGHT = 200.0  # the tower, trained for an epoch, says little beside it


@pytest.fixture(scope="module")
def data() -> PreparedData:
    return planted(users=60, items=90, events=1_500, niches=9)[1]


@pytest.fixture(scope="module")
def run(data: PreparedData, tmp_path_factory: pytest.TempPathFactory) -> TrainedRun:
    model = UserTowerConfig.model_validate(SMALL_MODEL)
    folder, matrix = tmp_path_factory.mktemp("run") / "run", interaction_matrix(data)
    train(data, RunConfig(method="joint", model=model, train=TrainConfig(epochs=1)), folder)
    settings = NeighbourFit(ridge=5.0, weight=WEIGHT)
    fit_rows(matrix, settings).save(folder)
    write_record(folder, read_record(folder) | {"neighbours": settings.model_dump()})
    return TrainedRun.open(folder)


@pytest.fixture(scope="module")
def releases(run: TrainedRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root: Path = tmp_path_factory.mktemp("releases")
    assert publish(run.path, root).largest_difference < 1e-5
    return root


def ids(answer):
    return [one.item_id for one in answer.candidates]


def test_a_release_answers_as_the_run_in_memory_with_its_interests_and_reasons(run, releases, data) -> None:
    retriever = Retriever.open(releases)
    brought = 0
    for user in data.user_ids.to_list():
        ours, theirs = run.recommend(user, n=8), retriever.recommend(user, n=8)
        assert [(one.item_id, one.interest, one.because) for one in ours.candidates] == [
            (one.item_id, one.interest, one.because) for one in theirs.candidates
        ]
        brought += sum(bool(one.because) for one in theirs.candidates)
    assert brought > len(data.user_ids), "own events bring something"
    plain = Release.open(releases)
    assert plain.neighbour_offset is not None
    assert plain.manifest.neighbours == {"weight": WEIGHT, "recency": 0.5} | NeighbourFit(ridge=5.0).model_dump(
        exclude={"weight", "recency"}
    )


def test_an_event_of_now_proposes_in_the_next_answer(run, releases, data) -> None:
    """Of what the newest event speaks for most, more is in the answer than before."""
    retriever, release = Retriever.open(releases), Release.open(releases)
    assert run.neighbours is not None
    user, item_ids = data.user_ids[7], data.items["item_id"]
    rows = run.neighbours.rows.matrix()
    new = int(np.setdiff1d(np.arange(1, data.n_items + 1), release.seen_items(7))[0])
    spoken_for = set(item_ids[(np.argsort(-rows[[new]].toarray()[0])[:8] - 1).tolist()].to_list())
    state = UserState(user, (Event("a", user, item_ids[new - 1], 2_000_000_000),))
    before, after = retriever.answer([Request(user, n=8), Request(user, n=8, user_state=state)])
    assert len(spoken_for & set(ids(after))) > len(spoken_for & set(ids(before)))


def test_a_removed_item_comes_back_through_no_row_and_an_added_one_is_carried_by_its_vector(run, data, tmp_path):
    publish(run.path, tmp_path / "releases")
    user = data.user_ids[3]
    gone = ids(Retriever.open(tmp_path / "releases").recommend(user, n=5))[0]
    pl.DataFrame({"item_id": [gone]}).write_parquet(tmp_path / "gone.parquet")
    remove_items(tmp_path / "releases", tmp_path / "gone.parquet")
    new = {"item_id": [999_999], "title": ["new"], "topics": [[data.topics[1]]]}
    pl.DataFrame(new).write_parquet(tmp_path / "new.parquet")
    add_items(tmp_path / "releases", tmp_path / "new.parquet")
    retriever = Retriever.open(tmp_path / "releases")
    everything = ids(retriever.recommend(user, n=data.n_items))
    assert gone not in everything
    assert 999_999 in everything
    anonymous = retriever.recommend(history=[999_999], n=5)
    assert len(anonymous.candidates) == 5
    publish(run.path, tmp_path / "releases")  # the new item is carried over, beyond the rows
    assert 999_999 in ids(Retriever.open(tmp_path / "releases").recommend(user, n=data.n_items))


@pytest.mark.parametrize("name", ["neighbour_offset.npy", "neighbour_item.npy", "neighbour_weight.npy"])
@pytest.mark.parametrize("damage", ["missing", "cut"])
def test_a_damaged_file_of_rows_is_one_line(name, damage, releases, tmp_path):
    folder = tmp_path / "releases"
    shutil.copytree(releases, folder)
    file = ReleaseStore(folder).folder() / name
    if damage == "missing":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:-4])
    with pytest.raises(ArtefactError, match=name) as error:
        Release.open(folder)
    assert "\n" not in str(error.value)


def test_the_inspection_and_the_manifest_name_them(releases) -> None:
    findings = inspect_release(ReleaseStore(releases))
    (text,) = [finding.text for finding in findings if finding.subject == "neighbours"]
    assert text.startswith("own events propose their neighbours, with weight 200; ")
    assert {finding.level for finding in findings if finding.subject != "signature"} == {"ok"}
    manifest = json.loads((ReleaseStore(releases).folder() / "manifest.json").read_text())
    assert manifest["neighbours"]["recency"] == 0.5


def test_neighbours_alone_are_published_and_answer(data, tmp_path) -> None:
    alone = make_neighbours_run(data, tmp_path / "run")
    publish(alone.path, tmp_path / "releases")
    retriever, matrix = Retriever.open(tmp_path / "releases"), interaction_matrix(data, include_validation=True)
    assert retriever.release.manifest.kinds == ("unconditioned",)
    assert alone.neighbours.rows.n_items == matrix.shape[1] - 1
    for user in data.user_ids.to_list()[:10]:
        answer = retriever.recommend(user, n=8)
        assert len(answer.candidates) == 8
        assert any(one.because for one in answer.candidates)
    nobody = retriever.recommend(history=[], followed_topics=[data.topics[1]], n=4)
    assert {one.source for one in nobody.candidates} == {"popular"}
