"""Items come and go without a new release: what is served before, meanwhile and after."""

import json
import re
from datetime import date
from pathlib import Path
from threading import Event, Thread
from typing import Any
from unittest.mock import Mock

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from multitudes.cli.main import run
from multitudes.errors import ArtefactError, UsageError
from multitudes.ids import Id
from multitudes.index import factory
from multitudes.index.protocol import Index, Topics
from multitudes.release import delta_log
from multitudes.release.delta_log import Delta
from multitudes.release.overlay import net_delta
from multitudes.release.release import Release
from multitudes.release.store import ReleaseStore
from multitudes.retrieval import retriever as retrieving
from multitudes.retrieval.item_updates import add_items, remove_items
from multitudes.retrieval.release_watcher import ReleaseWatcher
from multitudes.retrieval.retriever import Retriever
from tests.release.small_release import publish_small


@pytest.fixture(autouse=True)
def refresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Running retrievers look for changes at every request."""
    monkeypatch.setattr(retrieving, "_REFRESH_INTERVAL_S", 0.0)


def table(folder: Path, name: str = "new.parquet", **columns) -> Path:
    """Write an items table: by default item 201, a better Drama than all others."""
    frame = pl.DataFrame({"item_id": [201], "topics": [["Drama"]], "title": ["New"]} | columns)
    frame.write_parquet(folder / name)
    return folder / name


def ids(folder: Path, *item_ids) -> Path:
    pl.DataFrame({"item_id": item_ids}).write_csv(folder / "ids.csv")
    return folder / "ids.csv"


def recommended(retriever: Retriever, n: int = 100, **who) -> list[Id]:
    who = who or {"history": [103]}
    return [candidate.item_id for candidate in retriever.recommend(n=n, **who).candidates]


def test_a_new_item_is_found_by_a_running_retriever_and_by_the_next_one(releases: Path, tmp_path: Path):
    running = Retriever.open(releases)
    assert 201 not in recommended(running), "the control: before"
    added = add_items(releases, table(tmp_path, embedding=[[0.5, 0.0]]))
    assert (added.version, added.new, added.replaced, added.undescribed) == ("0001", 1, 0, 0)
    for retriever in (running, Retriever.open(releases)):
        best = retriever.recommend(history=[103], n=1).candidates[0]
        assert (best.item_id, best.title, best.source) == (201, "New", "implicit")
        assert len(recommended(retriever)) == 20, "all but the one in the history"
        assert retriever.recommend(followed_topics=["Drama"], n=1).candidates[0].item_id == 201, "under its topic"
        assert 201 not in recommended(retriever, 10, followed_topics=["Crime"]), "and no other"


def test_a_new_item_stands_in_histories_and_can_be_excluded(releases: Path, tmp_path: Path):
    add_items(releases, table(tmp_path, topics=[["Crime"]], embedding=[[0.0, 0.5]]))
    retriever = Retriever.open(releases)
    answer = retriever.recommend(history=[201], n=3)
    assert [candidate.item_id for candidate in answer.candidates] == [111, 112, 113], "the best of its kind"
    assert answer.unknown_items == ()
    assert answer.interests[1].name == "Crime"
    assert answer.interests[1].items == ("New",)
    assert 201 not in recommended(retriever, history=[111], exclude=[201])
    assert 201 in recommended(retriever, history=[111])  # the control


def test_a_removed_item_never_comes_back_not_even_as_a_popular_one(releases: Path, tmp_path: Path):
    running = Retriever.open(releases)
    assert 101 in recommended(running, user_id="nobody")
    assert remove_items(releases, ids(tmp_path, 101, 112)).removed == 2
    for retriever in (running, Retriever.open(releases)):
        for who in ({"user_id": "nobody"}, {"history": [103]}, {"followed_topics": ["Drama"]}, {"user_id": "bob"}):
            assert not {101, 112} & set(recommended(retriever, **who))
        assert retriever.recommend(history=[101], n=1).candidates[0].item_id == 102, "in a history it still counts"


def test_an_item_can_come_back_and_can_be_replaced(releases: Path, tmp_path: Path):
    running = Retriever.open(releases)
    remove_items(releases, ids(tmp_path, 105))
    added = add_items(releases, table(tmp_path, item_id=[105], topics=[["Crime"]], title=["Film 105, new cut"]))
    assert (added.new, added.replaced) == (0, 1)
    for retriever in (running, Retriever.open(releases)):
        found = retriever.recommend(followed_topics=["Crime"], n=20).candidates
        titles = {c.item_id: c.title for c in found if c.source == "explicit"}
        assert titles[105] == "Film 105, new cut"
        assert sorted(titles) == [105, *range(111, 121)], "it is of the other topic now"
        assert recommended(retriever).count(105) == 1
        release = retriever.release
        assert release.n_items == 20
        assert release.item_topic[release.item_topic_offset[5] : release.item_topic_offset[6]].tolist() == [2]
        assert release.item_topic[release.item_topic_offset[6] : release.item_topic_offset[7]].tolist() == [1]


def test_a_state_in_use_stays_as_it_is_and_what_is_applied_step_by_step_is_what_is_opened_at_once(
    releases: Path, tmp_path: Path
):
    before = Release.open(releases)
    add_items(releases, table(tmp_path))
    remove_items(releases, ids(tmp_path, 101))
    after = before.latest()
    assert (before.n_items, len(before.index), 1 in before.index.ids()) == (20, 20, True)
    assert (after.n_items, len(after.index), 1 in after.index.ids()) == (21, 20, False)
    assert after.latest() is after
    np.testing.assert_array_equal(after.input_vectors(np.array([[2, 21]])), [[before.item_input[2], [3, 0]]])
    running = Release.open(releases)
    for step in range(4):
        add_items(releases, table(tmp_path, item_id=[300 + step, 400], topics=[["Drama"], ["Crime"]], title=["a", "b"]))
        running = running.latest()
        remove_items(releases, ids(tmp_path, 300 + step))
        running = running.latest()
    opened = Release.open(releases)
    np.testing.assert_array_equal(running.index.ids(), opened.index.ids())
    np.testing.assert_array_equal(running.index.vectors(opened.index.ids()), opened.index.vectors(opened.index.ids()))
    for name in ("item_topic", "item_topic_offset", "item_count", "item_usable"):
        np.testing.assert_array_equal(getattr(running, name), getattr(opened, name))
    assert [running.item_names.name(n) for n in range(1, 25)] == [opened.item_names.name(n) for n in range(1, 25)]


def test_threads_that_read_while_items_come_see_each_change_whole(releases: Path, tmp_path: Path):
    retriever, done = Retriever.open(releases), Event()
    torn: list[set[str | None]] = []

    def read() -> None:
        while not done.is_set():
            titles = {c.title for c in retriever.recommend(history=[103], n=100).candidates if c.item_id in {201, 202}}
            if len(titles) > 1:
                torn.append(titles)

    threads = [Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    for step in range(5):
        same: dict[str, Any] = {"topics": [["Drama"]] * 2, "title": [f"step {step}"] * 2, "embedding": [[0.5, 0.0]] * 2}
        add_items(releases, table(tmp_path, item_id=[201, 202], **same))
    done.set()
    for thread in threads:
        thread.join()
    assert torn == []
    assert {c.title for c in retriever.recommend(history=[103], n=2).candidates} == {"step 4"}


def test_a_running_retriever_looks_a_few_times_a_second_and_no_more(releases: Path, monkeypatch: pytest.MonkeyPatch):
    looked: list[float] = []
    now = [100.0]
    monkeypatch.setattr(retrieving, "_REFRESH_INTERVAL_S", 0.25)
    monkeypatch.setattr(retrieving, "monotonic", lambda: now[0])
    retriever = Retriever.open(releases)

    def refreshed(release: Release) -> Release:
        looked.append(now[0])
        return release

    monkeypatch.setattr(Release, "latest", refreshed)
    for _ in range(100):
        now[0] += 0.01
        recommended(retriever, 1)
    assert 3 <= len(looked) <= 5


def test_who_serves_goes_on_when_the_file_is_damaged_and_who_opens_is_refused(
    releases: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    retriever = Retriever.open(releases)
    add_items(releases, table(tmp_path))
    assert 201 in recommended(retriever)
    file = releases / "changes" / "0001.log"
    file.write_bytes(file.read_bytes() + b"x" * 100)
    for _ in range(3):
        assert 201 in recommended(retriever)
    assert [record.getMessage().partition("0001.log: ")[2][:18] for record in caplog.records] == ["the record at byte"]
    with pytest.raises(ArtefactError, match=r"0001\.log: the record at byte \d+ is damaged"):
        Release.open(releases)
    file.unlink()
    file.symlink_to(file.name)
    with pytest.raises(ArtefactError, match=r"0001\.log: cannot be read \(Too many levels"):
        Release.open(releases)


ROW = pl.DataFrame({"item_id": [201], "title": ["New"], "topics": [["Drama"]], "embedding": [[1.0, 0.0]]})
ONES = np.ones((1, 2), dtype=np.float32)


@pytest.mark.parametrize(
    ("delta", "message"),
    [
        (Delta("add", 1, ROW, ONES, ONES * np.float32("nan")), "a vector is not finite"),
        (Delta("add", 1, ROW, ONES, np.ones((1, 3), np.float32)), r"widths \(2, 3\); expected \(2, 2\)"),
        (Delta("add", 1, ROW), r"widths \(None, None\)"),
        (Delta("add", 1, ROW.with_columns(item_id=pl.lit("a")), ONES, ONES), "ids of type String; expected Int64"),
        (Delta("add", 1, ROW.drop("embedding"), ONES, ONES), 'unable to find column "embedding"'),
    ],
)
def test_a_release_serves_without_updates_whose_content_is_wrong_and_says_so(
    delta: Delta, message: str, releases: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(retrieving, "_RETRY_AFTER_ERROR_S", 0.0)
    before = recommended(Retriever.open(releases))
    file = releases / "changes" / "0001.log"
    delta_log.append_delta(file, Release.open(releases).identity, delta)
    watcher = ReleaseWatcher(releases)
    assert recommended(watcher()) == before
    assert re.search(message, watcher().problem)
    assert watcher.state().problem == watcher().problem, "for the alert"
    with pytest.raises(ArtefactError, match=message):
        add_items(releases, table(tmp_path))
    file.unlink()
    add_items(releases, table(tmp_path))
    assert 201 in recommended(watcher())
    assert watcher.state().problem == ""


def test_a_disk_that_is_gone_costs_no_answer(releases: Path, monkeypatch: pytest.MonkeyPatch):
    retriever = Retriever.open(releases)
    before = recommended(retriever)
    monkeypatch.setattr("multitudes.release.release.file_signature", Mock(side_effect=OSError(5, "Input/output error")))
    retriever._next_refresh_s = 0.0
    assert recommended(retriever) == before
    assert "Input/output error" in retriever.problem


def test_what_the_release_cannot_read_is_counted(releases: Path, tmp_path: Path):
    file = table(
        tmp_path, item_id=[201, 202, None], topics=[["Drama", "Western"], ["Western", "Noir"], []], title=["a"] * 3
    )
    added = add_items(releases, file)
    assert (added.new, added.unknown_topics, added.undescribed) == (2, 2, 1)
    assert added.repairs == {"items_with_nulls": 1}
    release = Release.open(releases)
    assert release.item_usable[21:].tolist() == [True, False]
    (change,) = delta_log.read_deltas(releases / "changes" / "0001.log", release.identity).deltas
    assert change.items["topics"].to_list() == [["Drama", "Western"], ["Western", "Noir"]], "kept for the next release"


def test_files_whose_further_columns_are_of_different_types_can_all_be_read_again(releases: Path, tmp_path: Path):
    further: list[Any] = [
        [3],
        ["cheap"],
        [True],
        [[1, 2]],
        [date(2026, 1, 1)],
        pl.Series([2.5], dtype=pl.Decimal(9, 1)),
    ]
    for step, price in enumerate(further):
        add_items(releases, table(tmp_path, item_id=[300 + step], price=price))
    assert set(range(300, 306)) < set(recommended(Retriever.open(releases)))
    made = delta_log.read_deltas(releases / "changes" / "0001.log", Release.open(releases).identity).deltas
    assert net_delta(made).items()["price"].to_list() == ["3", "cheap", "true", None, None, "2.5"], (
        "for the next release"
    )
    (tmp_path / "new.csv").write_text("item_id,topics,price\n201,Drama,inf\n")
    add_items(releases, tmp_path / "new.csv")
    add_items(releases, table(tmp_path, item_id=[202], price=["cheap"]))
    assert {201, 202} < set(recommended(Retriever.open(releases)))


def test_a_column_that_the_release_reads_and_the_file_lacks_is_named(tmp_path: Path, capsys):
    encoding = [{"column": name, "mean": 0.0, "spread": 1.0} for name in ("price", "year")]
    publish_small(tmp_path / "releases", new_items={"vectors": "tower", "content_width": 2, "encoding": encoding})
    call = ["items", "add", str(tmp_path / "releases"), str(table(tmp_path, price=[2.5]))]
    assert run([*call, "--json"]) == 0
    said = capsys.readouterr().out
    assert "this release also reads year; the file lacks it, so it is unknown for all items" in said
    assert json.loads(said.splitlines()[-1])["unread_columns"] == ["year"]
    table(tmp_path, price=[2.5], year=[1999])
    assert run(call) == 0
    assert "also reads" not in capsys.readouterr().out  # the control


# The name of the file; its text, its bytes, or the columns of a table, None: no file; and what is said.
BAD_FILES: dict[str, tuple[str, str | bytes | dict[str, Any] | None, str]] = {
    "is not there": ("no.parquet", None, "no such file"),
    "is a folder": ("", None, "is a folder; give one file"),
    "is of another kind": ("new.txt", "201", "is no table; give one file that ends in .parquet"),
    "is empty": ("new.csv", "", "the file is empty"),
    "has no rows": ("new.csv", "item_id,topics\n", "the table has no rows"),
    "is no parquet": ("new.parquet", b"PAR1 not", "cannot be read"),
    "has no ids": ("new.csv", "item,topics\n1,Drama\n", "column 'item_id' is missing"),
    "has no topics": ("new.csv", "item_id\n201\n", "column 'topics' is missing"),
    "has text for ids": ("new.csv", "item_id,topics\nx,Drama\n", "expected integers, as in this release"),
    "has fractions for ids": ("new.parquet", {"item_id": [2.5]}, "expected int64 or string"),
    "has only nulls": ("new.parquet", {"item_id": pl.Series([None], dtype=pl.Int64)}, "every item_id is null"),
    "contradicts itself": (
        "new.parquet",
        {"item_id": [201] * 2, "title": ["a", "b"], "topics": [["Drama"]] * 2},
        "201 has several rows that differ",
    ),
    "has a wide embedding": (
        "new.parquet",
        {"embedding": [[1.0, 2.0, 3.0]]},
        "the first is 201: it has an embedding of 3 numbers; those of this release have 2",
    ),
    "has an embedding that overflows": (
        "new.parquet",
        {"embedding": [[3e38, 3e38]]},
        "the first is 201: its embedding is longer than 1e19",
    ),
    "has an item that the tower makes infinite": (
        "new.parquet",
        {"embedding": [[9e18, 0.0]]},
        "the first is 201: its numbers are so large that its vector is not finite",
    ),
}


@pytest.mark.parametrize("problem", BAD_FILES)
def test_a_bad_file_is_refused_in_one_line_and_nothing_is_added(problem: str, releases: Path, tmp_path: Path, capsys):
    name, content, message = BAD_FILES[problem]
    if isinstance(content, dict):
        table(tmp_path, name, **content)
    elif content is not None:
        (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
    assert run(["items", "add", str(releases), str(tmp_path / name)]) in {2, 3}
    said = capsys.readouterr()
    assert said.out == ""
    (line,) = said.err.splitlines()
    assert name in line
    assert re.search(message, line), line
    assert not (releases / "changes").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("item_id\n101\n999\n", r"1 of 2 items are not in release 0001, the first is 999\. Nothing was removed"),
        ("item_id\n", "the table has no rows"),
        ("id\n101\n", "column 'item_id' is missing"),
        ("item_id\nA\n", "expected integers, as in this release"),
    ],
)
def test_a_removal_that_cannot_be_is_refused_and_nothing_is_removed(
    content: str, message: str, releases: Path, tmp_path: Path
):
    (tmp_path / "ids.csv").write_text(content)
    with pytest.raises(Exception, match=message):
        remove_items(releases, tmp_path / "ids.csv")
    assert len(Release.open(releases).index) == 20
    remove_items(releases, ids(tmp_path, 101))  # the control
    with pytest.raises(UsageError, match="1 of 1 items are not in release"):
        remove_items(releases, ids(tmp_path, 101))
    assert len(Release.open(releases).index) == 19


def test_a_release_that_cannot_take_items_says_so(tmp_path: Path):
    publish_small(tmp_path / "releases", new_items={"vectors": "run"})
    with pytest.raises(UsageError, match="come from another run"):
        add_items(tmp_path / "releases", table(tmp_path))
    assert remove_items(tmp_path / "releases", ids(tmp_path, 101)).removed == 1, "but it lets items go"


def test_items_bring_their_own_vectors_where_the_release_has_no_tower(tmp_path: Path):
    publish_small(tmp_path / "releases", new_items={"vectors": "embedding", "content_width": 2})
    add_items(tmp_path / "releases", table(tmp_path, embedding=[[3.0, 4.0]]))
    release = Release.open(tmp_path / "releases")
    np.testing.assert_allclose(release.index.vectors(np.array([21])), [[0.6, 0.8]])
    with pytest.raises(Exception, match=r"1 of 1 items cannot be added, the first is 202: it has no 'embedding'"):
        add_items(tmp_path / "releases", table(tmp_path, item_id=[202]))


class Shared:
    """An index on a server, which every process changes and searches."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self.added: list[list[int]] = []
        self.item_ids: list[int] = []

    def add(
        self, ids: NDArray[np.int64], vectors: NDArray[np.float32], topics: Topics | None, names: pl.DataFrame
    ) -> None:
        self.added.append(ids.tolist())
        self.item_ids += names["item_id"].to_list()
        self._index.add(ids, vectors, topics)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._index, name)

    def __len__(self) -> int:
        return len(self._index)


def test_an_index_that_all_share_is_changed_once_by_who_changes_the_items(
    releases: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    server = Shared(factory.load_index(releases / "versions" / "0001" / "index"))
    monkeypatch.setattr("multitudes.release.release.load_index", lambda _: server)
    late = Retriever.open(releases)
    readers = [Retriever.open(releases) for _ in range(2)]
    monkeypatch.setattr(late, "_next_refresh_s", float("inf"))
    add_items(releases, table(tmp_path, embedding=[[0.5, 0.0]]))
    add_items(releases, table(tmp_path, item_id=[202], embedding=[[-9.0, 0.0]]))
    assert server.added == [[21], [22]], "each once"
    assert server.item_ids == [201, 202]
    for retriever in readers:
        assert recommended(retriever)[0] == 201
    assert recommended(late) == recommended(readers[0])[1:-1], "it does not know the new items yet: it does without"
    with monkeypatch.context() as killed:
        killed.setattr(Release, "sync_index", interrupt)
        with pytest.raises(KeyboardInterrupt):
            remove_items(releases, ids(tmp_path, 201, 101))
    assert {1, 21} <= set(server.ids().tolist()), "the writer died before it told the server"
    remove_items(releases, ids(tmp_path, 102))
    assert not {1, 2, 21} & set(server.ids().tolist())
    assert recommended(readers[0])[0] == 104


def interrupt(release: Release) -> None:
    raise KeyboardInterrupt


def test_a_second_writer_is_refused_while_the_first_is_at_work(releases: Path, tmp_path: Path):
    with ReleaseStore(releases).lock(), pytest.raises(UsageError, match="changes items; try again"):
        add_items(releases, table(tmp_path))
    add_items(releases, table(tmp_path))  # the control


def test_the_command_says_what_it_did(releases: Path, tmp_path: Path, capsys):
    file = table(tmp_path, item_id=[201, 105], topics=[["Drama"], ["Noir"]], title=["a", "b"])
    assert run(["items", "add", str(releases), str(file), "--json"]) == 0
    said = capsys.readouterr().out
    assert "release 0001, 1 item added, 1 replaced" in said
    assert "unknown to this release: 1 topic;" in said
    assert json.loads(said.splitlines()[-1])["replaced"] == 1
    log = releases / "changes" / "0001.log"
    log.write_bytes(log.read_bytes()[:-1])
    assert run(["items", "remove", str(releases), str(ids(tmp_path, 105)), "--json"]) == 0
    said = capsys.readouterr()
    assert "cut off an unfinished update of" in said.err
    assert json.loads(said.out.splitlines()[-1])["removed"] == 1
    assert 201 not in recommended(Retriever.open(releases)), "it was not acknowledged"
