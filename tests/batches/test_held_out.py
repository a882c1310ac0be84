"""The users of a split, their targets, and what was known of them."""

from dataclasses import replace
from pathlib import Path

from multitudes.batches.held_out import held_out_histories, held_out_users
from multitudes.data.prepared import SPLIT_CODE
from tests.evaluation.worlds import prepared
from tests.worlds import planted


def test_followed_topics_are_known_from_the_cut_on_if_they_were_stated_before_it(tmp_path: Path) -> None:
    data = prepared(tmp_path, [[1, 2]] * 3, [[3, 4]] * 3, [[1]] * 4, follows=[[1]] * 3)
    stated = data.event_after_follows.copy()
    stated[:3] = False  # the first user states them after the first held-out event, the second just before it
    stated[4:6] = False
    data = replace(data, event_after_follows=stated)
    held = held_out_users(data, "test")
    histories = held_out_histories(data, held.user_B, held.end_B, 5)
    assert histories.follow_BF.any(axis=1).tolist() == [False, True, True]


def test_held_out_targets_equal_their_definition() -> None:
    data = planted()[1]
    held = held_out_users(data, "validation")
    expected = {}
    for user in range(data.n_users):
        own = range(data.event_offset[user], data.event_offset[user + 1])
        part = [i for i in own if data.event_split[i] == SPLIT_CODE["validation"]]
        wanted = {
            int(data.event_item[i])
            for i in part
            if data.event_weight[i] > 0 and data.event_item[i] > 0 and data.event_after_follows[i]
        }
        if wanted:
            seen = {int(data.event_item[i]) for i in own if i < part[0]}
            expected[user] = (part[0], wanted, wanted - seen)
    assert held.user_B.tolist() == list(expected)
    assert any(new < wanted for _, wanted, new in expected.values()), "some were seen before"
    for row, (end, wanted, new) in enumerate(expected.values()):
        assert held.end_B[row] == end
        targets = slice(held.target_offset[row], held.target_offset[row + 1])
        assert set(held.target[targets].tolist()) == wanted
        assert set(held.target[targets][held.target_is_first_time[targets]].tolist()) == new
