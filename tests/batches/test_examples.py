"""Training examples from a planted world, against its flat events."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from multitudes.batches.examples import ConditionSource, Examples, MicroBatch, draw_fitting
from multitudes.batches.windows import WindowBatch
from multitudes.data.prepared import TRAIN, VALIDATION, PreparedData
from multitudes.errors import DataError
from tests.batches.targets import batches, moments, users
from tests.worlds import planted


@pytest.fixture(scope="module")
def without_follows() -> PreparedData:
    """A world where a history is all that can be known of a user."""
    return planted(follow_share=0.0, stale_follows=0)[1]


def examples(
    prepared: PreparedData, window: int = 4, condition: ConditionSource = "source", **settings: Any
) -> Examples:
    return Examples(prepared, history=20, window=window, condition=condition, **settings)


def window_bounds(made: Examples) -> tuple[np.ndarray, np.ndarray]:
    """Return the first and the past-the-last target of all windows of some epoch."""
    start = made.windows.tile(np.random.default_rng(0)).to_array()
    return start, np.append(start[1:], len(made))


@pytest.mark.parametrize("window", [1, 4, 10])
def test_every_positive_is_a_target_once_an_epoch(prepared: PreparedData, window: int) -> None:
    made = examples(prepared, window)
    targets = np.concatenate([b.target_BW[b.target_BW > 0] for b in batches(made, 32, seed=0, epoch=3)])
    assert np.array_equal(np.sort(targets), np.sort(prepared.event_item[made.position.to_array()]))
    assert len(targets) == len(made)


def test_no_event_is_seen_before_its_time_and_column_0_is_the_most_recent(without_follows: PreparedData) -> None:
    prepared = without_follows
    first_time: dict[tuple[int, int], int] = {}
    for position in range(len(prepared.event_item)):
        user = int(np.searchsorted(prepared.event_offset, position, side="right")) - 1
        first_time.setdefault((user, int(prepared.event_item[position])), position)
    made = examples(prepared)
    start, stop = window_bounds(made)
    batch = made.batch(WindowBatch(start, stop, seed=0))
    for b, (user, position) in enumerate(
        zip(users(made, start).tolist(), made.position.select(start).tolist(), strict=True)
    ):
        known = {int(i) for i in batch.histories.item_BL[b, batch.past_BL[b]]}
        assert all(first_time[user, item] < position for item in known)
    first = made.position.select(start)
    newest = prepared.event_offset[users(made, start)] + prepared.event_past[first] - 1
    newest_valid = prepared.event_valid[newest]
    column = batch.past_BL.argmax(axis=1)
    found = batch.histories.item_BL[np.arange(len(column)), column]
    assert np.array_equal(found[newest_valid], prepared.event_item[newest][newest_valid])


def test_no_window_spans_more_events_than_a_history(without_follows: PreparedData) -> None:
    """With repeats between them, a few first engagements lie far apart: one example must not read all in between."""
    for history in (5, 20, 1000):
        made = Examples(without_follows, history=history, window=10, condition="item")
        start, stop = window_bounds(made)
        span = moments(made, stop - 1) - moments(made, start)
        assert (span < history).all()
        assert np.array_equal(start[1:], stop[:-1])
        batch = made.batch(WindowBatch(start, stop, seed=0))
        assert batch.past_BL.shape[1] <= 2 * history
    assert span.max() >= 20, "without the rule there are longer windows"


def test_every_dense_target_is_predicted_from_strictly_before_it(without_follows: PreparedData) -> None:
    """The newest event known at a moment is older than the target, and no usable event is between them."""
    prepared = without_follows
    made = examples(prepared)
    start, stop = window_bounds(made)
    batch = made.batch(WindowBatch(start, stop, seed=0))
    dense, positive_at = batch.dense, {}
    for at in made.position.to_array().tolist():
        user = int(np.searchsorted(prepared.event_offset, at, side="right")) - 1
        positive_at[user, int(prepared.event_item[at])] = at  # first-time targets: one place each
    end = moments(made, stop - 1) + 1
    for moment, target in zip(dense.moment_T.tolist(), dense.target_T.tolist(), strict=True):
        row, column = dense.row_S[moment], dense.column_S[moment]
        user = int(users(made, start[row]))
        at = positive_at[user, target]
        strictly_before = prepared.event_offset[user] + prepared.event_past[at]
        known_from = end[row] - 1 - column if column >= 0 else prepared.event_offset[user] - 1
        assert known_from < strictly_before <= at
        assert not prepared.event_valid[known_from + 1 : strictly_before].any() or column < 0
    assert len(dense.target_T) == len(made)
    assert len(dense.row_S) < len(dense.target_T), "targets that tie in time share a moment"


def test_without_dense_training_a_target_is_predicted_from_its_windows_cut(without_follows: PreparedData) -> None:
    prepared = without_follows
    made = Examples(prepared, history=20, window=4, condition="item", dense=False)
    start, stop = window_bounds(made)
    batch = made.batch(WindowBatch(start, stop, seed=0))
    dense = batch.dense
    assert np.array_equal(np.sort(dense.target_T), np.sort(batch.target_BW[batch.target_BW > 0]))
    newest = np.where(batch.past_BL.any(axis=1), batch.past_BL.argmax(axis=1), -1)
    assert np.array_equal(dense.column_S, newest[dense.row_S])
    assert np.array_equal(batch.past_BL, batch.histories.valid_BL)


def test_a_new_user_is_an_example_if_something_is_followed(prepared, without_follows):
    assert (prepared.event_past[examples(prepared).position.to_array()] == 0).any()
    assert (without_follows.event_past[examples(without_follows).position.to_array()] > 0).all()


def test_history_dropout_hides_histories_and_keeps_targets(prepared: PreparedData) -> None:
    made = Examples(prepared, history=20, window=4, condition="item", history_dropout=0.5)
    found = list(batches(made, 64, 0, 0))
    hidden = np.concatenate([~b.histories.valid_BL.any(axis=1) for b in found])
    assert 0.4 < hidden.mean() < 0.65
    assert sum(int((b.target_BW > 0).sum()) for b in found) == len(made)


def test_followed_topics_are_no_feature_before_they_were_known(prepared: PreparedData) -> None:
    later = np.arange(len(prepared.event_item)) % 2 == 0
    made = examples(dataclasses.replace(prepared, event_after_follows=later))
    start, stop = window_bounds(made)
    batch = made.batch(WindowBatch(start, stop, seed=0))
    assert np.array_equal(batch.follows_known_B, later[made.position.select(start)])
    dense = batch.dense
    assert dense.follows_known_S.any()
    assert not dense.follows_known_S.all()
    owners = users(made, np.arange(len(made))).tolist()
    by_item = {
        (u, int(prepared.event_item[at])): later[at] for u, at in zip(owners, made.position.to_array(), strict=True)
    }
    for moment, target in zip(dense.moment_T, dense.target_T, strict=True):
        user = int(users(made, start[dense.row_S[moment]]))
        assert dense.follows_known_S[moment] == by_item[user, int(target)]


def test_a_target_before_the_followed_topics_has_no_condition_and_is_no_first_event(prepared: PreparedData) -> None:
    nothing_yet = dataclasses.replace(prepared, event_after_follows=np.zeros_like(prepared.event_after_follows))
    for condition in ("source", "item", "match"):
        early, known = (
            next(batches(examples(d, condition=condition), 64, seed=0, epoch=0)) for d in (nothing_yet, prepared)
        )
        assert not early.condition_BC.any()
        assert known.condition_BC.any()
    assert (prepared.event_past[examples(nothing_yet).position.to_array()] > 0).all()
    assert (prepared.event_past[examples(prepared).position.to_array()] == 0).any()


def test_only_first_engagements_in_training_are_targets_and_none_is_an_error(prepared: PreparedData) -> None:
    position = examples(prepared).position.to_array()
    assert prepared.event_first[position].all()
    assert not prepared.event_first.all(), "the control: users do return"
    assert (prepared.event_split[position] == TRAIN).all()
    none = dataclasses.replace(prepared, event_weight=np.zeros_like(prepared.event_weight))
    with pytest.raises(DataError, match="no training example"):
        examples(none)
    hide = prepared.manifest["actions"].index("hide") + 1
    made = examples(prepared)
    assert (prepared.event_action[made.position.to_array()] != hide).all()
    histories = [b.histories for b in batches(made, 64, 0, 0)]
    hidden = [(h.action_BL == hide) for h in histories]
    assert any(h.any() for h in hidden)
    assert not any((h.valid_BL & seen).any() for h, seen in zip(histories, hidden, strict=True))


def test_a_last_fit_trains_on_validation_too_and_never_on_test(prepared: PreparedData) -> None:
    before = examples(prepared)
    last = Examples(prepared, history=20, window=4, condition="source", include_validation=True)
    more = np.setdiff1d(last.position.to_array(), before.position.to_array())
    assert len(more) > 0
    assert (prepared.event_split[more] == VALIDATION).all()


def test_an_epoch_is_a_function_of_seed_and_epoch_and_can_be_entered_midway(prepared: PreparedData) -> None:
    made = examples(prepared, condition="item")
    whole = list(batches(made, 32, seed=5, epoch=2))
    tail = list(batches(made, 32, seed=5, epoch=2, skip=3))
    assert len(whole) == len(made.windows.epoch_batches(32, 5, 2)) == len(tail) + 3
    for one, other in zip(whole[3:], tail, strict=True):
        assert np.array_equal(one.target_BW, other.target_BW)
        assert np.array_equal(one.condition_BC, other.condition_BC)
    another = next(batches(made, 32, seed=5, epoch=3))
    assert not np.array_equal(whole[0].target_BW, another.target_BW)


@pytest.mark.parametrize("at_once", [1, 7, 100])
def test_windows_do_not_depend_on_the_chunks_of_users(prepared, at_once, monkeypatch):
    made = examples(prepared)
    whole = window_bounds(made)
    monkeypatch.setattr("multitudes.data.arrays.BATCH_ROWS", at_once)
    parts = window_bounds(made)
    assert len(whole[0]) > 100
    for one, other in zip(whole, parts, strict=True):
        assert np.array_equal(one, other)


def test_an_epoch_can_be_cut_short_and_a_micro_batch_without_rows_has_weight_zero(prepared: PreparedData) -> None:
    made = examples(prepared)
    assert len(made.windows.epoch_batches(16, 0, 0, max_batches=4)) == 4
    assert len(made.windows.epoch_batches(16, 0, 0, max_batches=10_000)) == len(made.windows.epoch_batches(16, 0, 0))
    windows = next(iter(made.windows.epoch_batches(2, seed=0, epoch=0)))
    idle = made.batch(windows, MicroBatch(2, 3))
    assert idle.weight_BW.sum() == idle.dense.weight_T.sum() == idle.target_BW.sum() == 0
    assert made.batch(windows, MicroBatch(1, 3)).weight_BW.sum() > 0


def test_histories_of_like_length_share_a_batch_and_a_cut_epoch_has_the_same_batches(without_follows, monkeypatch):
    made = examples(without_follows)

    def lengths(bucket: int, most: int | None = None) -> list[np.ndarray]:
        """Return how many events each window of each batch has before it."""
        monkeypatch.setattr("multitudes.batches.windows.BUCKET_BATCHES", bucket)
        epoch = made.windows.epoch_batches(16, 0, 0, most)
        past_E, position = without_follows.event_past, made.position
        return [np.minimum(past_E[position.select(batch.start_B)], 20) for batch in epoch]

    def padding(batches: list[np.ndarray]) -> int:
        return sum(int((past_B.max() - past_B).sum()) for past_B in batches)

    similar, mixed = lengths(5), lengths(1)
    assert len(similar) > 10, "there are several buckets"
    assert padding(similar) < 0.5 * padding(mixed)
    for one, other in zip(similar, lengths(5, most=7), strict=False):
        assert np.array_equal(one, other)


def test_conditions_come_from_the_configured_source(prepared: PreparedData) -> None:
    topics = np.split(prepared.item_topic, prepared.item_topic_offset[1:-1])
    for batch in batches(examples(prepared, condition="match"), 64, 0, 0):
        for b, w in zip(*np.nonzero(batch.condition_BC), strict=True):
            assert batch.condition_BC[b, w] in topics[int(batch.target_BW[b, w])]
            assert batch.condition_BC[b, w] in batch.histories.follow_BF[b]
    some = batches(examples(prepared, condition="item"), 64, 0, 0)
    with_topic = sum(int((b.condition_BC > 0).sum()) for b in some)
    matched = sum(int((b.condition_BC > 0).sum()) for b in batches(examples(prepared, condition="match"), 64, 0, 0))
    logged = sum(int((b.condition_BC > 0).sum()) for b in batches(examples(prepared, condition="source"), 64, 0, 0))
    assert with_topic > matched > logged > 0


def test_draw_fitting_is_uniform_over_fitting_entries() -> None:
    value = np.tile([4, 7, 9], (6000, 1))
    fits = np.tile([True, False, True], (6000, 1))
    fits[0] = False
    drawn = draw_fitting(value, fits, np.random.default_rng(0).random(value.shape))
    assert drawn[0] == 0
    assert set(drawn[1:].tolist()) == {4, 9}
    assert abs((drawn[1:] == 4).mean() - 0.5) < 0.03


@pytest.mark.parametrize("condition", ["source", "match"])
def test_micro_batches_together_are_the_batch(prepared: PreparedData, condition: ConditionSource) -> None:
    made = examples(prepared, condition=condition, history_dropout=0.3)
    windows = next(iter(made.windows.epoch_batches(33, seed=0, epoch=0)))
    whole = made.batch(windows)
    shares = [made.batch(windows, MicroBatch(first, 3)) for first in range(3)]
    for first, share in enumerate(shares):
        rows = slice(first, None, 3)
        for name in ("past_BL", "follows_known_B", "target_BW", "weight_BW", "condition_BC"):
            assert np.array_equal(getattr(share, name), getattr(whole, name)[rows]), name
        assert np.array_equal(share.histories.valid_BL, whole.histories.valid_BL[rows])
    dense = [np.stack([s.dense.target_T, s.dense.column_S[s.dense.moment_T]]) for s in (whole, *shares)]
    columns = [sorted(map(tuple, d.T.tolist())) for d in (dense[0], np.concatenate(dense[1:], axis=1))]
    assert columns[0] == columns[1]
    assert sorted(made.targets(windows)) == sorted(whole.dense.target_T)
    other = made.batch(windows._replace(seed=windows.seed + 1))
    assert not np.array_equal(other.past_BL, whole.past_BL), "control: other draws hide other histories"
