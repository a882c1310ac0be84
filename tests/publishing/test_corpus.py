"""Items that came and went between two publishes go into the next release: as if it had always known them."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from multitudes.cli.main import run as command
from multitudes.data.prepare import PrepareConfig, prepare
from multitudes.errors import ArtefactError, UsageError
from multitudes.ids import Id
from multitudes.index.exact import ExactIndex
from multitudes.pinnersage.clustering import PinnerSageConfig
from multitudes.pinnersage.run import PinnerSageRun
from multitudes.publishing.publish import publish
from multitudes.release import delta_log
from multitudes.release.release import Release
from multitudes.release.signature import make_key_pair
from multitudes.release.store import ReleaseStore
from multitudes.retrieval import rollback as rollback_module
from multitudes.retrieval.item_updates import add_items, remove_items
from multitudes.retrieval.retriever import Retriever
from multitudes.retrieval.rollback import rollback
from multitudes.training.runs import make_pinnersage_run
from tests.worlds import planted

SETTINGS = PinnerSageConfig(history=12, interests=3)
NEW = [9_001, 9_002, 9_003]
GONE = 5  # an item of the data, which recommends it


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> PinnerSageRun:
    return make_pinnersage_run(planted(embedding_width=8)[1], tmp_path_factory.mktemp("run") / "run", SETTINGS)


@pytest.fixture
def changed(run: PinnerSageRun, tmp_path: Path) -> Path:
    """Give a folder of releases to which three items came, and from which two went: one of them and one of the data."""
    root = tmp_path / "releases"
    publish(run.path, root)
    add_items(root, new_items(run, tmp_path))
    remove_items(root, ids(tmp_path, NEW[2], GONE))
    return root


def new_items(run: PinnerSageRun, folder: Path) -> Path:
    """Write items near to three that are in the data, so that they are among what is recommended."""
    near = run.item_vectors()[run.item_vectors().any(axis=1)][[0, 20, 40]] + np.float32(0.01)
    topics = [[run.prepared.topics[1]], ["a topic to come"], []]
    frame = pl.DataFrame({"item_id": NEW, "topics": topics, "title": ["A", "B", None], "embedding": near.tolist()})
    frame.write_parquet(folder / "new.parquet")
    return folder / "new.parquet"


def ids(folder: Path, *item_ids: int) -> Path:
    pl.DataFrame({"item_id": item_ids}).write_csv(folder / "ids.csv")
    return folder / "ids.csv"


def lists(path: Path) -> list[list[tuple[Id, float]]]:
    answers = Retriever.open(path).recommend_all(n=20)
    return [[(candidate.item_id, candidate.score) for candidate in answer.candidates] for answer in answers]


def recommended(path: Path) -> set[Id]:
    return {item for answer in lists(path) for item, _ in answer}


def test_items_added_live_give_the_lists_that_a_rebuild_gives(run: PinnerSageRun, changed: Path, tmp_path: Path):
    live, answers = Release.open(changed), lists(changed)
    items = live.index.ids()
    rebuilt = ExactIndex.build(items, live.index.vectors(items))
    for query in run.item_vectors()[1:20]:
        ours, theirs = (index.search(query[None], 30) for index in (live.index, rebuilt))
        np.testing.assert_array_equal(ours.id_QN, theirs.id_QN)
    done = publish(run.path, changed)
    assert (done.version, done.carried_items, done.removed_items) == ("0002", 2, 2)
    assert lists(changed) == answers
    assert set(NEW[:2]) <= recommended(changed)
    publish(run.path, tmp_path / "elsewhere")
    assert lists(tmp_path / "elsewhere") != answers  # the control: without what came and went


def test_the_new_release_begins_without_changes_and_the_old_one_keeps_its_own(run: PinnerSageRun, changed: Path):
    before = lists(changed)
    publish(run.path, changed)
    assert sorted(path.name for path in (changed / "changes").iterdir()) == ["0001.log"]
    remove_items(changed, ids(changed.parent, NEW[0]))
    assert sorted(path.name for path in (changed / "changes").iterdir()) == ["0001.log", "0002.log"]
    assert NEW[0] not in recommended(changed)
    ReleaseStore(changed).rollback()
    assert lists(changed) == before
    ReleaseStore(changed).rollback(to="0002")
    assert NEW[0] not in recommended(changed)


def test_what_was_taken_over_goes_into_every_later_release(run: PinnerSageRun, changed: Path):
    for version in ("0002", "0003", "0004"):
        done = publish(run.path, changed)
        assert (done.version, done.carried_items, done.removed_items) == (version, 2, 2)
    release = Release.open(changed)
    number = release.item_names.number(NEW[1])
    assert release.item_names.name(number).title == "B"
    assert release.item_names.number(GONE) not in release.index.ids()
    assert GONE not in recommended(changed)


def test_a_release_that_is_signed_takes_over_what_a_trusted_key_signed(run: PinnerSageRun, tmp_path: Path):
    root, keys = tmp_path / "releases", {name: tmp_path / name for name in ("old", "new")}
    for key in keys.values():
        make_key_pair(key)
    publish(run.path, root, sign=keys["old"])
    add_items(root, new_items(run, tmp_path), sign=keys["old"])
    assert publish(run.path, root, sign=keys["old"]).carried_items == 3
    with pytest.raises(ArtefactError, match=r"0002/carried[.]log: no trusted key signed the record at byte"):
        publish(run.path, root, sign=keys["new"])
    assert publish(run.path, root, sign=keys["new"], trust=tmp_path / "old.pub").carried_items == 3
    remove_items(root, ids(tmp_path, NEW[0]))
    with pytest.raises(ArtefactError, match=r"changes/0003[.]log: no trusted key signed the record at byte"):
        publish(run.path, root, sign=keys["new"])
    assert ReleaseStore(root).current() == "0003"
    assert publish(run.path, root).carried_items == 2, "the control: without a key"


def test_what_the_next_data_knows_is_its_own_affair(changed: Path, tmp_path: Path):
    """It has one of the items that came, the topic of another, and a later event of one that went."""
    release = Release.open(changed)
    removed_s = delta_log.read_deltas(changed / "changes" / "0001.log", release.identity).deltas[-1].at_s
    source = planted(embedding_width=8)[1].path.parent / "data"
    tables = {path.stem: pl.read_parquet(path) for path in source.glob("*.parquet")}
    item = (
        tables["items"]
        .head(1)
        .with_columns(
            item_id=pl.lit(NEW[0], pl.Int64), topics=pl.lit(["a topic to come"]), title=pl.lit("A of the data")
        )
    )
    event = (
        tables["events"]
        .tail(1)
        .with_columns(item_id=pl.lit(GONE, pl.Int64), timestamp=pl.lit(removed_s + 60, pl.Int64))
    )
    for name, more in (("items", item), ("events", event), ("users", tables["users"].clear())):
        (tmp_path / "data").mkdir(exist_ok=True)
        pl.concat([tables[name], more]).write_parquet(tmp_path / "data" / f"{name}.parquet")
    config = PrepareConfig(split="user", min_item_count=0)
    data = prepare(tmp_path / "data", tmp_path / "prepared", config, now=removed_s + 100)
    done = publish(make_pinnersage_run(data, tmp_path / "run", SETTINGS).path, changed)
    assert (done.carried_items, done.removed_items) == (1, 1), "9002 goes along, 9003 stays away"
    release = Release.open(changed)
    names, topic = release.item_names, release.topic_number["a topic to come"]
    assert names.name(names.number(NEW[0])).title == "A of the data"
    assert names.number(NEW[1]) in release.index.items_of(topic), "a topic that the release before did not know"
    assert names.number(GONE) in release.index.ids(), "somebody chose it after it was removed"


def test_items_of_another_width_wait_for_a_run_that_reads_it(run: PinnerSageRun, changed: Path, tmp_path: Path):
    narrow = make_pinnersage_run(planted(embedding_width=6)[1], tmp_path / "narrow", SETTINGS)
    done = publish(narrow.path, changed)
    assert (done.version, done.carried_items, done.waiting_items, done.removed_items) == ("0002", 0, 2, 2)
    assert not set(NEW) & recommended(changed)
    assert publish(run.path, changed).carried_items == 2


def test_a_damaged_file_of_changes_stops_a_publish(run: PinnerSageRun, changed: Path):
    file = changed / "changes" / "0001.log"
    file.write_bytes(file.read_bytes() + b"x" * 100)
    with pytest.raises(ArtefactError, match=r"0001\.log: the record at byte"):
        publish(run.path, changed)
    assert ReleaseStore(changed).versions() == ["0001"]


def test_the_commands_say_what_was_taken_over(run: PinnerSageRun, changed: Path, capsys: pytest.CaptureFixture[str]):
    assert command(["publish", str(run.path), "--to", str(changed)]) == 0
    assert "taken over: 2 added items, 2 removed" in capsys.readouterr().out
    assert command(["doctor", str(changed)]) == 0
    assert "taken over: 2 added, 2 removed" in " ".join(capsys.readouterr().out.split())


def test_items_follow_the_serving_version_over_a_rollback_and_the_next_publish(run: PinnerSageRun, tmp_path: Path):
    root, added = tmp_path / "releases", new_items(run, tmp_path)
    for _ in range(2):
        publish(run.path, root)
    add_items(root, added)
    remove_items(root, ids(tmp_path, NEW[2], GONE))
    done = rollback(root)
    assert (done.version, done.former, done.added, done.left) == ("0001", "0002", NEW[:2], [])
    assert sorted(done.removed) == [GONE, NEW[2]]
    for _ in range(2):
        assert set(NEW[:2]) <= recommended(root)
        assert not {GONE, NEW[2]} & recommended(root)
        publish(run.path, root)
    assert (rollback(root, "0001").added, rollback(root, "0002").removed) == ([], []), "they have them already"


def test_a_rollback_to_a_version_without_vectors_for_added_items_names_them(
    run: PinnerSageRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    root = tmp_path / "releases"
    for _ in range(2):
        publish(run.path, root)
    add_items(root, new_items(run, tmp_path))
    monkeypatch.setattr(rollback_module, "item_vectors", lambda items, *_: (None, dict.fromkeys(range(len(items)), "")))
    with pytest.raises(UsageError, match=r"3 added items have no vector in this version \(9001, 9002, 9003\)"):
        rollback(root)
    assert ReleaseStore(root).current() == "0002"
    assert rollback(root, leave_items=True).left == NEW
    assert ReleaseStore(root).current() == "0001"
