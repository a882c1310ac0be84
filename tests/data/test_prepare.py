"""The prepared folder: numbers, order, weights, truth about the past, and equal bytes for equal input."""

import errno
import hashlib
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from multitudes.data import manifest
from multitudes.data import prepare as preparing
from multitudes.data.planted import PlantedConfig, plant, write_world
from multitudes.data.prepared import ARRAYS, TEST, TRAIN, VALIDATION, PreparedData
from multitudes.errors import ArtefactError, DataError, UsageError
from tests.data.tables import NOW, events, items, prepared, users, write


def names(found: PreparedData) -> list[int]:
    """Item ids of the events in their order; 0 for the unknown item."""
    ids = [0, *found.items["item_id"].to_list()]
    return [ids[item] for item in found.event_item]


def checksums(found: PreparedData) -> dict[str, str]:
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(found.path.iterdir())}


def test_the_small_world_by_hand_whose_topics_and_follows_keep_their_order(tmp_path):
    found = prepared(write(tmp_path))
    assert repr(found) == f"PreparedData('{found.path}': 2 users, 6 events)"
    assert found.user_ids.to_list() == [1, 2]
    assert found.topics == ["", "art", "food", "sea"]
    assert found.event_offset.tolist() == [0, 4, 6]
    assert names(found) == [10, 20, 30, 10, 20, 30]
    assert found.event_time.tolist() == [100, 200, 300, 400, 150, 450]
    assert found.event_split.tolist() == [TRAIN, TRAIN, VALIDATION, TEST, TRAIN, TRAIN]
    found = prepared(write(tmp_path / "other", users=users(followed_topics=[["food", "art", "food"], None])))
    assert [found.topics[topic] for topic in found.followed_topics(0)] == ["food", "art"]
    assert len(found.followed_topics(1)) == 0
    topics = np.split(found.item_topic, found.item_topic_offset[1:-1])
    assert [[found.topics[topic] for topic in one] for one in topics] == [[], ["art"], ["art", "food"], ["sea"]]


def test_every_array_of_the_format_is_there_in_its_type_and_length(tmp_path):
    found = prepared(write(tmp_path, items=items(embedding=[[1.0, 2.0], None, [3.0, 4.0]], price=[1.0, 2.0, 3.0])))
    n_users, n_events, n_items = 2, 6, 3
    per_user = {"event_offset": n_users + 1, "follow_offset": n_users + 1, "user_feature": n_users}
    lengths = {**per_user, "item_topic_offset": n_items + 2}
    for name, dtype in ARRAYS.items():
        array = getattr(found, name)
        assert array.dtype == dtype
        if name.startswith("event_") and name != "event_offset":
            assert len(array) == n_events
        elif name in lengths:
            assert len(array) == lengths[name]
        elif name.startswith("item_") and name != "item_topic":
            assert len(array) == n_items + 1
    assert found.item_embedding is not None
    assert found.item_embedding.tolist() == [[0, 0], [1, 2], [0, 0], [3, 4]]
    assert found.item_feature.shape == (n_items + 1, 1)
    assert not found.item_feature[0].any()


def test_the_first_positive_of_a_pair_is_a_first_and_the_past_is_strictly_earlier(tmp_path):
    table = events(item_id=[10, 10, 10, 20, 10, 10], action=["hide", "save", "save", "save", "save", "hide"])
    found = prepared(write(tmp_path, events=table))
    assert found.event_first.tolist() == [False, True, False, True, True, False]
    found = prepared(write(tmp_path / "other", events=events(timestamp=[100, 100, 200, 200, 5, 5])), split="user")
    assert found.event_past.tolist() == [0, 0, 2, 2, 0, 0]


def test_the_vocabulary_and_the_counts_come_from_training_events_only(tmp_path, monkeypatch):
    table = events(user_id=[1] * 6, item_id=[10, 10, 10, 20, 20, 30], timestamp=[1, 2, 3, 4, 5, 6])
    write(tmp_path, events=table)
    assert prepared(tmp_path, "one").items["item_id"].to_list() == [10, 20]
    assert prepared(tmp_path, "two", min_item_count=2).items["item_id"].to_list() == [10]
    assert prepared(tmp_path, "all", min_item_count=0).items["item_id"].to_list() == [10, 20, 30]
    counts = prepared(tmp_path, "cold").manifest["counts"]
    assert (counts["test_targets"], counts["test_cold_targets"]) == (0, 1)
    day = 86_400
    monkeypatch.setattr(manifest, "RECENT_S", 30 * day)
    table = events(timestamp=[1 * day, 2 * day, 3 * day, 4 * day, 100 * day, 101 * day])
    found = prepared(write(tmp_path, events=table))
    # user 1 trains on 10 and 20, long ago; user 2 on 20 and 30, at the end
    assert found.item_count.tolist() == [0, 1, 2, 1]
    assert found.item_recent_count.tolist() == [0, 0, 1, 1]


def test_an_unknown_item_is_never_a_positive_and_without_positives_nothing_is_prepared(tmp_path):
    found = prepared(write(tmp_path, events=events(item_id=[99, 99, 20, 10, 20, 30])))
    assert found.event_item.tolist()[:2] == [0, 0]
    assert found.event_weight.tolist()[:2] == [0, 0]
    assert not found.event_valid[:2].any()
    with pytest.raises(DataError, match="no training event is a positive"):
        prepared(write(tmp_path / "other", events=events(action=["hide"] * 6)))


def test_weights_follow_actions_ratings_and_flags(tmp_path):
    table = events(
        action=["save", "hide", "view", "save", "save", "save"],
        rating=[5.0, 5.0, 5.0, 2.0, None, 5.0],
        valid=[True, True, True, True, True, False],
    )
    write(tmp_path, events=table)
    assert prepared(tmp_path, "default").event_weight.tolist() == [1, 0, 1, 1, 1, 0]
    assert prepared(tmp_path, "rated", min_rating=3).event_weight.tolist() == [1, 0, 1, 0, 1, 0]
    chosen = prepared(tmp_path, "chosen", positive_actions={"save": 2.5, "repost": 1})
    assert chosen.event_weight.tolist() == [2.5, 0, 0, 2.5, 2.5, 0]
    assert any("repost" in warning for warning in chosen.manifest["warnings"])
    assert chosen.manifest["actions"] == ["hide", "save", "view"]
    assert chosen.event_action.tolist() == [2, 1, 3, 2, 2, 2]


def test_a_least_rating_without_ratings_is_a_warning(tmp_path):
    for name, extra, warns in (("without", {}, True), ("rated", {"rating": [5.0, 2, 3, 4, 5, 1]}, False)):
        write(tmp_path / name, events=events(**extra))
        warnings = prepared(tmp_path / name, "out", min_rating=3.0).manifest["warnings"]
        assert any("no table has ratings" in warning for warning in warnings) == warns


def test_logged_sources_are_numbered_and_the_three_kinds_of_conditions_counted(tmp_path):
    found = prepared(write(tmp_path, events=events(source_interest=["sea", "jazz", None, "art", "food", "sea"])))
    assert [found.topics[topic] for topic in found.event_source] == ["sea", "", "", "art", "food", "sea"]
    # in training: user 1 (follows food, art): 10 (art), 20 (art, food); user 2 (follows sea): 20, 30 (sea)
    found = prepared(write(tmp_path / "other", events=events(source_interest=["sea", None, "art", "art", None, None])))
    assert found.manifest["conditions"] == {"source": 1, "item": 4, "match": 3}


def test_with_derived_follows_only_later_events_count(tmp_path):
    write(tmp_path, events=events(timestamp=[100, 200, 200, 400, 150, 450]))
    found = prepared(tmp_path, "half", follows_from_share=0.5)
    assert found.event_after_follows.tolist() == [False, False, False, True, False, True]
    assert prepared(tmp_path, "stated").event_after_follows.all()
    assert found.manifest["counts"]["train_targets"] == 1


def test_ties_are_kept_or_shuffled_alike_and_counted_at_the_held_out_place(tmp_path):
    n = 40
    table = pl.DataFrame({"user_id": [1] * n, "item_id": range(n), "timestamp": [0] * (n - 1) + [1]})
    write(tmp_path, events=table, items=None, users=None)
    in_file = names(prepared(tmp_path, "file", split="user"))
    first, again = (names(prepared(tmp_path, name, split="user", ties="shuffle")) for name in ("a", "b"))
    assert in_file == list(range(n))
    assert first == again
    assert sorted(first[:-1]) == in_file[:-1] != first[:-1]
    assert first[-1] == n - 1  # only ties are shuffled
    for name, times, tied in (("apart", [1, 2, 3, 4, 1, 2], 0), ("tied", [1, 2, 3, 3, 1, 2], 1)):
        counts = prepared(write(tmp_path / name, events=events(timestamp=times))).manifest["counts"]
        assert (counts["validation_targets"], counts["test_targets"]) == (1, 1)
        assert (counts["validation_tied_targets"], counts["test_tied_targets"]) == (tied, tied)


def test_equal_input_gives_equal_bytes_whatever_the_threads_and_the_memory(tmp_path):
    world = plant(PlantedConfig(users=800, events=140_000, items=500, embedding_width=4))  # more than one row group
    write_world(world, tmp_path)
    settings = {"split": "time", "ties": "shuffle"}
    one = checksums(prepared(tmp_path, "one", **settings, threads=1))
    two = checksums(prepared(tmp_path, "two", **settings, threads=2, memory_limit="200MB"))
    other = checksums(prepared(tmp_path, "other", split="user", threads=2))
    assert one == two
    assert one["event_split.npy"] != other["event_split.npy"]


def test_times_of_order_only_logs_are_not_split_by_time(tmp_path):
    write(tmp_path, events=events(timestamp=[0, 1, 2, 3, 0, 1]))
    with pytest.raises(DataError, match="leave_one_out"):
        prepared(tmp_path, split="time")
    found = prepared(tmp_path)
    assert found.ordered_only
    assert found.item_recent_count.tolist() == found.item_count.tolist()


def test_an_output_folder_that_exists_is_kept_unless_told_otherwise(tmp_path):
    write(tmp_path)
    prepared(tmp_path)
    with pytest.raises(UsageError, match="--overwrite"):
        prepared(tmp_path)
    config = preparing.PrepareConfig(split="leave_one_out", min_item_count=2, threads=1)
    assert preparing.prepare(tmp_path, tmp_path / "out", config, overwrite=True, now=NOW).n_items == 1


@pytest.mark.parametrize("failure", [OSError(errno.ENOSPC, "no space left on device"), KeyboardInterrupt()])
def test_a_full_disk_or_an_interruption_leaves_nothing(tmp_path, monkeypatch, failure):
    def fail(*_):
        raise failure

    write(tmp_path)
    monkeypatch.setattr(preparing, "write_ragged", fail)
    with pytest.raises(type(failure)):
        prepared(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["events.parquet", "items.parquet", "users.parquet"]


def test_a_damaged_prepared_folder_is_rejected(tmp_path):
    found = prepared(write(tmp_path))
    (found.path / "event_item.npy").write_bytes((found.path / "event_item.npy").read_bytes()[:-4])
    with pytest.raises(ArtefactError, match=r"event_item\.npy"):
        PreparedData.open(found.path)
    (found.path / "manifest.json").write_text('{"format": "multitudes-prepared", "version": 0}')
    with pytest.raises(ArtefactError, match="version 0"):
        PreparedData.open(found.path)
    (found.path / "manifest.json").write_text("[]")
    with pytest.raises(ArtefactError, match=r"manifest\.json: damaged; run multitudes prepare again"):
        PreparedData.open(found.path)
    (found.path / "manifest.json").rename(found.path / "events.csv")
    with pytest.raises(ArtefactError, match=f"these are tables; prepare them with: multitudes prepare {found.path}"):
        PreparedData.open(found.path)


@pytest.mark.parametrize(("name", "attribute"), [("users", "user_ids"), ("items", "items"), ("topics", "topics")])
def test_names_that_are_cut_missing_or_of_other_columns_are_rejected_by_their_file(tmp_path, name, attribute):
    found = prepared(write(tmp_path))
    file = found.path / f"{name}.parquet"
    whole = file.read_bytes()
    assert len(getattr(PreparedData.open(found.path), attribute)) > 0, "the control"
    pl.DataFrame({"other": [1]}).write_parquet(file)
    with pytest.raises(ArtefactError, match=rf"{name}\.parquet: damaged or cut short; run multitudes prepare again"):
        getattr(PreparedData.open(found.path), attribute)
    file.write_bytes(whole[:-9])
    with pytest.raises(ArtefactError, match=rf"{name}\.parquet: damaged or cut short"):
        getattr(PreparedData.open(found.path), attribute)
    file.unlink()
    with pytest.raises(ArtefactError, match=rf"{name}\.parquet: missing; run multitudes prepare again"):
        getattr(PreparedData.open(found.path), attribute)


def test_numbers_and_categories_become_features_and_names_do_not(tmp_path):
    table = users(age=[20, 40], country=["NL", None], name=["Ada", "Bob"])
    found = prepared(write(tmp_path, users=table))
    assert found.manifest["user_features"] == ["age", "country=NL"]
    assert found.manifest["skipped_columns"]["users"] == {"name": "a name, not a feature"}
    np.testing.assert_allclose(found.user_feature, [[-1, 1], [1, 0]])


def test_the_manifest_is_documented(tmp_path):
    page = (Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8")
    manifest = prepared(write(tmp_path)).manifest
    assert [key for key in manifest if f"`{key}`" not in page] == []
