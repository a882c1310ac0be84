"""Synthetic tables: tastes show in the events, a shard can be drawn alone, nothing is left half-written."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from multitudes.config import parse
from multitudes.data.prepare import PrepareConfig, prepare
from multitudes.errors import UsageError
from multitudes_lab import synthetic as room
from multitudes_lab.synthetic import SynthConfig, SynthWorld, write_synthetic_tables

SMALL = SynthConfig(events=20_000, users=400, items=300, topics=20, days=30)


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(room, "SHARD_EVENTS", 6_000)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_synthetic_tables(tmp_path / "data", SMALL)
    return tmp_path / "data"


def events(data: Path) -> pl.DataFrame:
    """The events, each with the topic of its item and whether its user has a taste for it."""
    items = pl.read_parquet(data / "items.parquet").select("item_id", topic=pl.col("topics").list.first())
    joined = pl.read_parquet(data / "events").join(items, on="item_id", maintain_order="left")
    return joined.join(pl.read_parquet(data / "truth/users.parquet"), on="user_id", maintain_order="left").with_columns(
        liked=pl.col("topic").is_in(pl.col("tastes"))
    )


def test_the_tables_are_those_that_prepare_reads_and_every_event_is_in_order(data: Path, tmp_path: Path):
    prepared = prepare(data, tmp_path / "prepared", PrepareConfig(split="time"))
    counts, repairs = prepared.manifest["counts"], prepared.manifest["repairs"]
    assert counts["events"] + repairs.get("duplicate_events", 0) == SMALL.events
    assert set(repairs) <= {"duplicate_events"}
    assert (prepared.n_users, counts["topics"]) == (SMALL.users, SMALL.topics)
    assert [len(list((data / "events").iterdir())), pl.read_parquet(data / "users.parquet").height] == [4, SMALL.users]
    times = events(data)["timestamp"]
    assert times.is_sorted()
    assert np.ptp(times.to_numpy()) == pytest.approx(30 * 86_400, rel=0.01)


def test_saves_follow_the_tastes_by_their_weights_and_hides_do_not(data: Path):
    share = dict(events(data).group_by("action").agg(pl.col("liked").mean()).iter_rows())
    assert share["save"] == pytest.approx(0.95 + 0.05 * 3 / 20, abs=0.01)
    assert share["hide"] == pytest.approx(3 / 20, abs=0.06), "the control: three of twenty topics by chance"
    saves = events(data).filter((pl.col("action") == "save") & pl.col("liked"))
    place = [tastes.index(topic) for tastes, topic in saves.select("tastes", "topic").iter_rows()]
    expected = np.array(saves["weights"].to_list())
    counted = np.eye(3)[place]
    active = saves["user_id"].to_numpy()
    top = np.bincount(active).argmax()
    assert counted[active == top].mean(axis=0) == pytest.approx(expected[active == top][0], abs=0.1)


def test_sources_are_followed_topics_of_the_item(data: Path):
    sourced = events(data).drop_nulls("source_interest").join(pl.read_parquet(data / "users.parquet"), on="user_id")
    assert 0.15 < sourced.height / SMALL.events < 0.25
    assert (sourced["source_interest"] == sourced["topic"]).all()
    assert sourced["topic"].is_in(sourced["followed_topics"]).all()
    follows = pl.read_parquet(data / "users.parquet")["followed_topics"]
    assert (follows.list.n_unique() == follows.list.len()).all()


def test_few_items_and_few_users_have_much_and_in_the_control_all_have_alike():
    def top(config: SynthConfig) -> tuple[float, float]:
        world = SynthWorld.from_config(config)
        part = world.shard(0)
        shares = [np.sort(np.bincount(values))[::-1] for values in (part.item_E, part.user_E)]
        items, users = (float(counts[: len(counts) // 10].sum() / counts.sum()) for counts in shares)
        return items, users

    items, users = top(SMALL)
    equal_items, equal_users = top(SMALL.model_copy(update={"zipf": 0.0, "activity": 0.0}))
    assert min(items, users) > 0.3
    assert max(equal_items, equal_users) < 0.2


def test_equal_seeds_give_equal_tables_and_shards_can_be_drawn_in_any_order(data: Path, tmp_path: Path):
    write_synthetic_tables(tmp_path / "again", SMALL)
    for file in sorted(path.relative_to(data) for path in data.rglob("*.parquet")):
        assert pl.read_parquet(data / file).equals(pl.read_parquet(tmp_path / "again" / file)), file
    alone = SynthWorld.from_config(SMALL).shard(2)
    written = pl.read_parquet(data / "events" / "part-00002.parquet")
    assert written["user_id"].to_list() == alone.user_E.tolist()
    assert written["item_id"].to_list() == alone.item_E.tolist()
    other = SynthWorld.from_config(SMALL.model_copy(update={"seed": 1})).shard(2)
    assert alone.user_E.tolist() != other.user_E.tolist()


def test_an_interruption_leaves_nothing(tmp_path: Path):
    def interrupt(done: int, total: int, note: str = "") -> None:
        if done > room.SHARD_EVENTS:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_synthetic_tables(tmp_path / "data", SMALL, interrupt)
    assert list(tmp_path.iterdir()) == []


def test_impossible_sizes_and_another_folder_are_rejected(tmp_path: Path):
    with pytest.raises(UsageError, match="expected tastes <= topics <= items"):
        write_synthetic_tables(tmp_path / "data", SMALL.model_copy(update={"topics": 500}))
    for name, size in (("events", 10**30), ("users", 10**15), ("days", 10**18), ("tastes", 60)):
        with pytest.raises(UsageError, match=f"'{name}' = {size}"):
            parse(SynthConfig, {name: size}, "options")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(UsageError, match=r"synth.json"):
        write_synthetic_tables(tmp_path / "mine", SMALL, overwrite=True)
    assert (tmp_path / "mine" / "thesis.txt").exists()
