"""The inverted index: recall on easy and hard data, with and without filters."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from multitudes.errors import ArtefactError
from multitudes.index import approximate, factory, files, inverted
from multitudes.index.exact import ExactIndex
from multitudes.index.factory import IndexConfig, build_index
from multitudes.index.inverted import InvertedLists
from multitudes.index.live import LiveIndex
from multitudes.index.protocol import Hits, Topics
from multitudes.index.tuning import DEFAULT_TARGET
from tests.index.worlds import by_topic

N, D = 6_000, 32
Vectors = tuple[np.ndarray, np.ndarray]
SHALLOW = DEFAULT_TARGET._replace(deepest=50)
NARROW = DEFAULT_TARGET._replace(scanned=100)  # so that topics of this small corpus have codes


def clustered(rng: np.random.Generator, queries: int = 300) -> Vectors:
    """Make vectors around centres: a query's neighbours share one inverted list."""
    centre = rng.standard_normal((60, D))
    items = centre[rng.integers(60, size=N)] + 0.3 * rng.standard_normal((N, D))
    return items.astype(np.float32), centre[rng.integers(60, size=queries)].astype(np.float32)


def latent(rng: np.random.Generator, queries: int = 300) -> Vectors:
    """Make vectors of a factor model without clusters: neighbours are spread over many lists."""
    loading = rng.standard_normal((D // 2, D))
    items, users = (rng.standard_normal((count, D // 2)) @ loading for count in (N, queries))
    return items.astype(np.float32), users.astype(np.float32)


def recall(found: Hits, truth: Hits) -> float:
    return float(np.mean([np.isin(truth.ids(q), found.ids(q)).mean() for q in range(len(truth.count_Q))]))


def exact(vectors: np.ndarray, topics: Topics | None = None) -> ExactIndex:
    """Return the reference over items 0, 1, …"""
    return ExactIndex.build(np.arange(len(vectors)), vectors, topics)


@pytest.mark.parametrize("world", [clustered, latent])
def test_the_recall_target_holds_at_every_depth_on_unseen_queries(world: Any):
    vectors, queries = world(np.random.default_rng(2))
    index = approximate.build(np.arange(N), vectors, queries=queries[:150])
    for depth in (3, 17, 100, 400):
        found = recall(index.search(queries[150:], depth), exact(vectors).search(queries[150:], depth))
        assert found >= 0.96, f"held-out queries at depth {depth}; a little below 0.97 is chance"
    tuning = index.info()["tuning"]
    assert (tuning["tuned_on"], tuning["queries"], tuning["checked_on"]) == ("queries", 75, 75)
    assert all(level["at_least"] >= 0.97 and level["checked"] >= 0.95 for level in tuning["levels"])


def test_control_the_least_effort_is_not_enough_without_clusters():
    vectors, queries = latent(np.random.default_rng(2))
    index = approximate.build(np.arange(N), vectors, queries=queries, target=DEFAULT_TARGET._replace(recall=0.01))
    assert {level["effort"] for level in index.info()["tuning"]["levels"][:2]} == {1}
    assert recall(index.search(queries, 5), exact(vectors).search(queries, 5)) < 0.8


def test_a_topic_is_searched_in_its_codes_or_scanned_and_keeps_the_recall(tmp_path: Path, monkeypatch: Any):
    vectors, queries = latent(np.random.default_rng(4))
    far = vectors @ queries[:100].mean(axis=0) < 0
    topics = by_topic(np.arange(N) % 4 == 0, far, np.arange(N) < 50, np.arange(N) < 60)
    built = LiveIndex(approximate.build(np.arange(N), vectors, topics, queries=queries[100:], target=NARROW))
    assert built.info()["tuning"]["topic_recall"] >= 0.97
    built.save(tmp_path)
    best = exact(vectors).search(queries[:100], 200)
    seen = [best.ids(q) for q in range(100)]
    propose_in, asked = InvertedLists.propose_in, []

    def noted(self: InvertedLists, list_Q: Any, *rest: Any) -> Any:
        asked.append(sorted(set(list_Q.tolist())))
        return propose_in(self, list_Q, *rest)

    monkeypatch.setattr(InvertedLists, "propose_in", noted)
    for index in (built, factory.load_index(tmp_path)):
        for excluded in (None, seen):
            topic_Q = np.arange(100) % 6  # 0 is any topic, and nothing has the fifth
            found, wanted = (
                i.search(queries[:100], 20, excluded=excluded, topic_Q=topic_Q) for i in (index, exact(vectors, topics))
            )
            assert found.count_Q.tolist() == wanted.count_Q.tolist()
            for topic in (1, 2, 3, 4):
                own = np.flatnonzero(topic_Q == topic)
                shares = [np.isin(wanted.ids(q), found.ids(q)).mean() for q in own.tolist()]
                assert np.mean(shares) >= (0.96 if topic < 3 else 1)
    assert asked == [[0, 1]] * 4, "one call for the topics with codes"
    zero = np.zeros((1, D), np.float32)
    assert built.search(zero, 3, topic_Q=np.array([1])).ids(0).tolist() == [0, 4, 8], "all tie"


def test_codes_of_topics_fit_the_topics_and_have_checksums(tmp_path: Path):
    vectors, queries = clustered(np.random.default_rng(5))
    topics = by_topic(np.arange(N) % 4 == 0)
    LiveIndex(approximate.build(np.arange(N), vectors, topics, queries=queries, target=NARROW)).save(tmp_path)
    info = files.read_description(tmp_path)
    del info["files"], info["format"], info["version"]
    tuning = info["tuning"]
    for change, message in (
        ({"topic_recall": "x"}, "index.json: 'tuning' is damaged"),
        (
            {"promise": tuning["promise"] | {"scanned": N}},
            "topics.faiss: holds 1,500 codes of 32 dimensions; expected 0 of 32",
        ),
    ):
        files.write_description(tmp_path, info | {"tuning": tuning | change})
        with pytest.raises(ArtefactError, match=message):
            factory.load_index(tmp_path)
    (tmp_path / "topics.faiss").unlink()
    files.write_description(tmp_path, info)
    with pytest.raises(ArtefactError, match=r"has no checksum of topics.faiss"):
        factory.load_index(tmp_path)
    files.write_description(tmp_path, info | {"tuning": tuning | {"topic_recall": None}})
    assert len(factory.load_index(tmp_path)) == N, "the control"


def test_control_codes_of_a_topic_that_find_too_little_are_not_used(monkeypatch: pytest.MonkeyPatch):
    vectors, queries = latent(np.random.default_rng(4))
    topics, propose_in = by_topic(np.arange(N) % 4 == 0), InvertedLists.propose_in
    monkeypatch.setattr(InvertedLists, "propose_in", lambda self, *rest: propose_in(self, *rest)[:, 12:])
    index = approximate.build(np.arange(N), vectors, topics, queries=queries[100:], target=NARROW)
    assert index.info()["tuning"]["topic_recall"] is None
    topic_Q = np.ones(100, dtype=np.int64)
    found, wanted = (i.search(queries[:100], 20, topic_Q=topic_Q) for i in (index, exact(vectors, topics)))
    assert found.id_QN.tolist() == wanted.id_QN.tolist()


def test_the_size_of_the_corpus_chooses_the_engine_unless_it_is_named(monkeypatch: pytest.MonkeyPatch):
    vectors, _ = clustered(np.random.default_rng(6))

    def kind(items: int, config: IndexConfig) -> str:
        return str(build_index(np.arange(items), vectors[:items], config).info()["kind"])

    assert kind(N, IndexConfig()) == "exact"
    assert kind(500, IndexConfig(kind="inverted")) == "inverted"
    monkeypatch.setattr(factory, "EXACT_UP_TO", N - 1)
    assert kind(N, IndexConfig()) == "inverted"
    assert kind(N, IndexConfig(kind="exact")) == "exact"


def test_many_lists_that_are_found_through_a_graph_keep_the_recall(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(inverted, "_GRAPH_FROM_LISTS", 64)
    vectors, queries = latent(np.random.default_rng(8))
    index = approximate.build(np.arange(N), vectors, queries=queries[100:], lists=64, target=SHALLOW)
    found, wanted = (i.search(queries[:100], 20) for i in (index, exact(vectors)))
    assert recall(found, wanted) >= 0.96


def test_vectors_of_like_depths_share_a_call_and_each_probes_as_many_lists_as_its_depth_needs(
    monkeypatch: pytest.MonkeyPatch,
):
    vectors, queries = latent(np.random.default_rng(6))
    index = approximate.build(np.arange(N), vectors, queries=queries[8:], target=SHALLOW)
    levels = {level["depth"]: level for level in index.info()["tuning"]["levels"]}
    effort = {depth: level["effort"] for depth, level in levels.items()}
    assert effort[10] < effort[50]
    assert 2 * levels[10]["proposals"] < levels[50]["proposals"] <= 2 * levels[20]["proposals"]
    search, probed = InvertedLists._search_lists, []

    def noted(self: InvertedLists, query_QD: Any, list_QP: Any, *rest: Any) -> Any:
        probed.append((list_QP >= 0).sum(axis=1).tolist())
        return search(self, query_QD, list_QP, *rest)

    monkeypatch.setattr(InvertedLists, "_search_lists", noted)
    limits = [50, 10, 20, 10, 10]
    together = index.search(queries[:5], np.array(limits))
    assert probed == [[effort[50], effort[20]], [effort[10]] * 3]
    alone = [index.search(queries[q : q + 1], limit) for q, limit in enumerate(limits)]
    assert len(probed) == 2 + 5, "the control: a call for each"
    assert [hits.ids(0).tolist() for hits in alone] == [together.ids(q).tolist() for q in range(5)]


def saved(folder: Path) -> LiveIndex:
    """Return an index that was opened from ``folder``, whose copy in memory still exists."""
    vectors, queries = clustered(np.random.default_rng(5))
    index = LiveIndex(approximate.build(np.arange(N), vectors, queries=queries, target=SHALLOW))
    index.save(folder)
    return index


def mapping(lists: InvertedLists) -> tuple[str, dict[str, int]]:
    """Return the file of the codes of the longest list, empty for none, and kB of its pages in this process."""
    inverted = lists.inverted.invlists
    longest = max(range(inverted.nlist), key=inverted.list_size)
    address, found = int(inverted.get_codes(longest)), ("", dict[str, int]())
    for line in Path("/proc/self/smaps").read_text().splitlines():
        head = re.match(r"([0-9a-f]+)-([0-9a-f]+) \S+ \S+ \S+ \d+ *(.*)", line)
        if head:
            is_it, name = int(head[1], 16) <= address < int(head[2], 16), head[3]
            found = (name, {}) if is_it else found
        elif is_it and line.endswith(" kB"):
            found[1][line.partition(":")[0]] = int(line.split()[1])
    return found


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="needs Linux")
def test_processes_share_the_pages_of_the_lists_and_a_built_index_has_its_own(tmp_path: Path):
    built, opened = saved(tmp_path), InvertedLists.open(tmp_path)
    query_QD = clustered(np.random.default_rng(5))[1]
    every = np.full(len(query_QD), opened.efforts()[-1]), np.full(len(query_QD), 10)
    opened.propose(query_QD, *every)
    script = "import sys; from tests.index import test_inverted as t; t.hold(sys.argv[1])"
    with subprocess.Popen([sys.executable, "-c", script, tmp_path], stdin=-1, stdout=-1, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "open\n"
        file, kib = mapping(opened)
        other.communicate()
    assert file == str(tmp_path / inverted.ITEM_LISTS[1])
    assert 0 < kib["Pss"] < 0.6 * kib["Rss"], "each of the two is charged half"
    assert (kib["Private_Dirty"], kib["Anonymous"]) == (0, 0)
    of_built = mapping(built._layers[0]._engine)  # type: ignore[attr-defined]
    assert not of_built[0].startswith("/")
    assert of_built[1]["Private_Dirty"] > 0, "the control: a copy of its own"


def hold(folder: str) -> None:
    """Read all lists of an index in another process, and keep them until stdin ends."""
    lists = InvertedLists.open(Path(folder))
    query_QD = clustered(np.random.default_rng(5))[1]
    lists.propose(query_QD, np.full(len(query_QD), lists.efforts()[-1]), np.full(len(query_QD), 10))
    sys.stdout.write("open\n")
    sys.stdout.flush()
    sys.stdin.read()


def test_an_open_index_needs_its_files_no_more(tmp_path: Path):
    """Releases appear by a rename and are deleted: no file of one is ever written again."""
    built, query_QD = saved(tmp_path), clustered(np.random.default_rng(5))[1]
    opened = factory.load_index(tmp_path)
    for number, file in enumerate(sorted(tmp_path.iterdir())):
        (tmp_path / "other").write_bytes(bytes(100))
        (tmp_path / "other").replace(file) if number % 2 else file.unlink()
    assert opened.search(query_QD, 20).id_QN.tolist() == built.search(query_QD, 20).id_QN.tolist()


def test_lists_that_lead_out_of_their_file_are_not_mapped(tmp_path: Path):
    saved(tmp_path)
    engine, info = tmp_path / inverted.ITEM_LISTS[0], files.read_description(tmp_path)
    del info["files"], info["format"], info["version"]
    whole, length = engine.read_bytes(), (tmp_path / inverted.ITEM_LISTS[1]).stat().st_size
    size = InvertedLists.open(tmp_path).inverted.get_list_size(0)
    entry = np.array([size, -(-size // 32) * 32, 0])  # size, capacity, place
    assert whole.count(entry.tobytes()) == 1
    for wrong in (
        [-1, 32, 0],
        [10**6, 10**6, 0],
        [2**62, 2**62, 0],
        [*entry[:2], -32],
        [*entry[:2], length],
        [1, 32, 0],
    ):
        engine.write_bytes(whole.replace(entry.tobytes(), np.array(wrong).tobytes()))
        files.write_description(tmp_path, info)  # with checksums that are right
        with pytest.raises(ArtefactError, match=r"inverted.faiss: .*the lists do not fit .*lists.bin$"):
            factory.load_index(tmp_path)
    engine.write_bytes(whole)
    for damaged in (-1, 1):
        os.truncate(tmp_path / inverted.ITEM_LISTS[1], length + damaged)
        files.write_description(tmp_path, info)
        with pytest.raises(ArtefactError, match=r"the lists do not fit .*lists.bin$"):
            factory.load_index(tmp_path)
    os.truncate(tmp_path / inverted.ITEM_LISTS[1], length)
    files.write_description(tmp_path, info)
    assert len(factory.load_index(tmp_path)) == N, "the control"
