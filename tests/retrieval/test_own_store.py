"""A vector store in place of the index: with an exact one, the lists are those of the release, to the last bit."""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from multitudes.api import FoundItems, VectorsResponse
from multitudes.cli.main import run
from multitudes.errors import UsageError
from multitudes.ids import Id
from multitudes.index.protocol import Topics
from multitudes.release.release import Release
from multitudes.retrieval.config import RetrieveConfig
from multitudes.retrieval.item_updates import export_items, remove_items
from multitudes.retrieval.request import Degradation, Request
from multitudes.retrieval.retriever import Retriever
from multitudes.state.protocol import Event, UserState
from tests.release.small_release import ITEM_VECTORS, publish_small

ITEMS = range(101, 121)


def publish_large(root: Path) -> None:
    """Publish the small world with 1,500 more items of five tastes, so that lists end before the items do."""
    rng, n = np.random.default_rng(0), 1_520
    vectors = np.concatenate([ITEM_VECTORS, rng.uniform(0, 1, (n - 20, 2)).astype(np.float32)])
    vectors[100:150] = vectors[100]  # ties
    topics = Topics(np.arange(n + 1), np.where(vectors[:, 0] >= vectors[:, 1], 1, 2))
    arrays = {
        "item_input": np.concatenate([np.zeros((1, 2)), 3 * vectors]),
        "item_topic_offset": np.concatenate([[0], topics.offset]),
        "item_topic": topics.topic,
        "item_count": np.arange(n + 1)[::-1],
        "item_usable": np.arange(n + 1) > 0,
        "item_taste": np.concatenate([[-1], rng.integers(0, 5, n)]),
        "taste_centre": rng.normal(size=(5, 2)),
        "item_repeat_rate": np.zeros(n + 1),
    }
    counts = {"users": 3, "items": n, "topics": 2}
    publish_small(root, data=arrays, vectors=vectors, topics=topics, counts=counts)


class ExactStore:
    """A store of what ``export_items`` writes, searched exactly."""

    def __init__(self, releases: Path, file: Path) -> None:
        assert export_items(releases, file)[0] == "0001"
        table = pl.read_parquet(file)
        self.vectors, self.topics = table["vector"].to_numpy(), table["topics"].to_list()
        self.item_ids: list[Id] = table["item_id"].to_list()

    def search(self, asked: VectorsResponse, limits: Sequence[int], *, filters: bool = True) -> list[FoundItems]:
        left_out = set(asked.exclude) if filters else set()
        found = []
        for one, limit in zip(asked.vectors, limits, strict=True):
            score = np.vecdot(self.vectors, np.array(one.vector, dtype=np.float32))
            best = [n for n in np.argsort(-score, kind="stable").tolist() if self.item_ids[n] not in left_out]
            if filters:
                best = [n for n in best if one.topic is None or one.topic in self.topics[n]]
                best = [n for n in best if not set(asked.mute_topics) & set(self.topics[n])]
            found.append(FoundItems(one.interest, [self.item_ids[n] for n in best[:limit]][::-1]))
        return found

    def lists(self, asked: VectorsResponse, n: int) -> list[FoundItems]:
        """Search as the recipe says: deeper, and for vectors without a share, only where all find fewer than ``n``."""
        found = self.search(asked, [one.limit for one in asked.vectors])
        if len({item for one in found for item in one.item_ids}) >= n:
            return found
        return self.search(asked, [asked.max_limit] * len(asked.vectors))


@pytest.fixture(scope="module")
def store(shared_releases: Path, tmp_path_factory: pytest.TempPathFactory) -> ExactStore:
    return ExactStore(shared_releases, tmp_path_factory.mktemp("store") / "items.parquet")


@pytest.fixture(scope="module")
def open_retriever(shared_releases: Path) -> Callable[..., Retriever]:
    return lambda **settings: Retriever.open(shared_releases, RetrieveConfig(topics_per_request=2, **settings))


@pytest.fixture(scope="module")
def worlds(shared_releases: Path, store: ExactStore, tmp_path_factory) -> list[tuple[Release, ExactStore]]:
    root = tmp_path_factory.mktemp("large")
    publish_large(root)
    return [(Release.open(shared_releases), store), (Release.open(root), ExactStore(root, root / "items.parquet"))]


some_items = st.lists(st.sampled_from([*ITEMS]), max_size=8, unique=True)
some_topics = st.lists(st.sampled_from(["Drama", "Crime", "Opera"]), max_size=2, unique=True)
some_interests = st.lists(st.integers(0, 4), max_size=2, unique=True)


@st.composite
def requests(draw: st.DrawFn) -> Request:
    who = draw(st.sampled_from(["ann", "bob", "eve", "zoe", None, "state"]))
    state = UserState("ann", (Event("1", "ann", draw(st.sampled_from([*ITEMS])), 10**6),), ("Drama",))
    return Request(
        "ann" if who == "state" else who,
        history=draw(some_items) if who is None else None,
        followed_topics=draw(some_topics) if who is None else None,
        user_state=state if who == "state" else None,
        n=draw(st.integers(1, 25)),
        exclude=[*draw(some_items), 999],
        exclude_seen=draw(st.sampled_from([None, True, False])),
        mute_topics=draw(some_topics),
        boost_topics=draw(some_topics),
        mute_interests=draw(some_interests),
        boost_interests=draw(some_interests),
        calibration=draw(st.sampled_from([None, 0.0, 0.4, 1.0])),
        interest_shares=draw(st.sampled_from([None, {0: 1.0}, {1: 0.3, 2: 0.7}])),
        request_id=draw(st.sampled_from(["", "7"])),
    )


@given(
    batch=st.lists(requests(), min_size=1, max_size=4),
    blend=st.sampled_from(["fusion", "round_robin", "global_top"]),
    shares=st.sampled_from([(None, None), (1.0, 0.0), (0.0, 1.0), (0.0, 0.0)]),
    relevance=st.booleans(),
    large=st.booleans(),
)
def test_the_lists_of_an_exact_store_are_those_of_the_release(worlds, batch, blend, shares, relevance, large):
    release, store = worlds[large]
    config = RetrieveConfig(blend=blend, unconditioned_share=shares[0], explicit_share=shares[1])
    config = config.model_copy(update={"relevance_filter": relevance, "topics_per_request": 2})
    retriever = Retriever(release, config)
    asked = retriever.vectors(batch)
    answers = retriever.answer(batch)
    found = [replace(one, found=store.lists(own, one.n)) for one, own in zip(batch, asked, strict=True)]
    assert retriever.answer(found) == answers
    everything = [  # a store that filters nothing and returns all: the release filters, sorts and cuts
        replace(one, found=store.search(own, [len(store.item_ids)] * len(own.vectors), filters=False))
        for one, own in zip(batch, asked, strict=True)
    ]
    assert retriever.answer(everything) == answers
    mixed = [pair[i % 2] for i, pair in enumerate(zip(batch, found, strict=True))]
    assert retriever.answer(mixed) == answers, "in one batch with requests that search the index"


def test_what_a_store_returns_too_late_or_too_often_is_dropped(releases: Path, store: ExactStore, tmp_path, capsys):
    request = Request("ann", n=5)
    retriever = Retriever.open(releases)
    (asked,) = retriever.vectors([request])
    found = store.search(asked, [one.limit for one in asked.vectors])
    twice = [FoundItems(one.interest, [*one.item_ids, *one.item_ids]) for one in found]
    assert retriever.answer([replace(request, found=[*found, *twice])]) == retriever.answer([request])
    best = retriever.recommend("ann", n=1).candidates[0].item_id
    pl.DataFrame({"item_id": [best]}).write_csv(tmp_path / "gone.csv")
    remove_items(releases, tmp_path / "gone.csv")
    served = Retriever.open(releases).answer([replace(request, found=found)])[0]
    assert best not in [one.item_id for one in served.candidates]
    assert run(["items", "export", str(releases), str(tmp_path / "new" / "left.parquet")]) == 0
    assert capsys.readouterr().out == f"{tmp_path}/new/left.parquet: release 0001, 19 items\n"
    assert run(["items", "export", str(releases), str(tmp_path / "csv" / "left.csv")]) == 2
    assert "left.csv: items and vectors are written as Parquet" in capsys.readouterr().err
    assert not (tmp_path / "csv").exists()
    left = pl.read_parquet(tmp_path / "new" / "left.parquet")
    assert best not in left["item_id"]
    assert (left["item_id"][18], left["title"][18], left["topics"][18].to_list()) == (120, "Film 120", ["Crime"])


@pytest.mark.parametrize("shares", [{}, {"unconditioned_share": 1.0, "explicit_share": 0.0}])
def test_vectors_that_found_nothing_leave_their_places_to_popular_items(open_retriever, shares):
    answer = open_retriever(**shares).answer([Request("ann", n=3, found=[])])[0]
    assert {one.source for one in answer.candidates} == {"popular"}
    assert answer.reason == "the interests found too few items: 3 of 3 places are popular items"


def test_muted_interests_have_no_vector_and_an_unknown_user_has_none(open_retriever):
    retriever = open_retriever()
    plain, muted, unknown = retriever.vectors(
        [Request("ann", n=4), Request("ann", n=4, mute_interests=[1], mute_topics=["Crime"]), Request("zoe", n=4)]
    )
    assert [(one.interest, one.kind, one.topic) for one in plain.vectors] == [
        (0, "unconditioned", None),
        (1, "implicit", None),
        (2, "explicit", "Crime"),
    ]
    assert (plain.exclude, plain.mute_topics, plain.reason) == ((101, 102, 103, 104, 111), (), "")
    assert [one.interest for one in muted.vectors] == [0]
    assert muted.mute_topics == ("Crime",)
    assert muted.exclude == plain.exclude, "a store filters a topic by its name, not by its items"
    assert (unknown.vectors, unknown.reason) == ((), "user 'zoe' is not in this release: popular items")


def test_a_degraded_answer_takes_the_found_items_of_its_vectors_alone(open_retriever, store):
    retriever, request = open_retriever(), Request("bob", n=6)
    (asked,) = retriever.vectors([request])
    found = replace(request, found=store.lists(asked, 6))
    fewer = retriever.answer([request], degradation=Degradation.FEWER)
    assert retriever.answer([found], degradation=Degradation.FEWER) == fewer


@pytest.mark.parametrize(
    ("found", "wrong"),
    [
        ([FoundItems(0, [102, 7])], r"found: item 7 is not in release 0001; search the vectors of that release"),
        ([FoundItems(0, ["102"])], r"found: item '102' is not in release 0001"),
        ([FoundItems(4, [102])], r"found: interest 4; expected that of a vector, 0 to 3 in this release"),
    ],
)
def test_hits_of_another_release_are_rejected(open_retriever, found, wrong):
    with pytest.raises(UsageError, match=wrong):
        open_retriever().answer([Request("ann", found=found)])


def test_rows_search_the_index_of_the_release_alone(open_retriever):
    for ask in (lambda: Request("ann", rows=2, found=[]), lambda: open_retriever().vectors([Request("ann", rows=2)])):
        with pytest.raises(UsageError, match=r"rows = 2: rows search the release's own index"):
            ask()


def test_the_recipe_of_the_page_gives_the_list_of_the_release(shared_releases: Path, tmp_path: Path, monkeypatch):
    page = (Path(__file__).parents[2] / "docs" / "own-store.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    (tmp_path / "releases").symlink_to(shared_releases)
    export_items(shared_releases, tmp_path / "items.parquet")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(code, names)
    assert names["answer"] == names["retriever"].answer([names["request"]])[0]
    assert len(names["found"]) == 3
