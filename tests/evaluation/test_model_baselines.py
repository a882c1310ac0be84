"""The fitted baselines: what they find, what they are tuned on, and what is kept."""

import json
from dataclasses import replace
from operator import itemgetter

import numpy as np
import pytest

from multitudes.batches.held_out import held_out_users
from multitudes.data.prepared import TEST, VALIDATION
from multitudes.evaluation import model_baselines as module
from multitudes.evaluation.baselines import Baselines, fit_baselines
from multitudes.evaluation.model_baselines import DEFAULTS, GRIDS, best_items, model_baselines
from multitudes.evaluation.targets import targets_of_kind
from multitudes.metrics import ranking
from tests.evaluation.worlds import prepared

N_ITEMS, GROUP = 60, 10


def groups(folder, *, shuffled=False):
    """Return a world in which every user keeps to one of six groups of items, or to none (the control)."""
    draw = np.random.default_rng(0)
    rows = [draw.permutation(GROUP)[:7] + 1 + GROUP * (user % 6) for user in range(240)]
    if shuffled:
        rows = [draw.permutation(N_ITEMS)[:7] + 1 for _ in rows]
    data = prepared(folder, [row[:5] for row in rows], [row[5:] for row in rows], [[1]] * N_ITEMS)
    code = data.event_split.copy()
    code[5::7] = VALIDATION
    return replace(data, event_split=code)


def two_tastes(folder, *, older):
    """Return a world in which users leave one of six groups for another and come next to the new one, or the older."""
    draw, rows = np.random.default_rng(0), []
    for _ in range(240):
        before, after = (draw.permutation(GROUP)[:6] + 1 + GROUP * g for g in draw.permutation(6)[:2])
        rows.append([*before[:4], *after[:3], *(before if older else after)[[4, 5]]])
    data = prepared(folder, [row[:8] for row in rows], [row[8:] for row in rows], [[1]] * N_ITEMS)
    code = data.event_split.copy()
    code[7::9] = VALIDATION
    return replace(data, event_split=code)


def hit_rates(data, budget=5, split="test"):
    users = targets_of_kind(held_out_users(data, split), "new")
    rates = {}
    for name, model in model_baselines(data, users, ["new"], budget, budget).items():
        rank_T = ranking.ranks_in_list(model.lists["new"], users.target_offset, users.target)
        rates[name] = np.isfinite(rank_T).mean()
    return rates


@pytest.mark.parametrize(("shuffled", "low", "high"), [(False, 0.95, 1.0), (True, 0.02, 0.2)])
def test_models_find_the_group_of_a_user_and_nothing_where_there_are_none(tmp_path, shuffled, low, high):
    """In its group a user has four unseen items for five places; by chance 5 of 54 are found."""
    rates = hit_rates(groups(tmp_path, shuffled=shuffled))
    assert rates.keys() == DEFAULTS.keys()
    assert all(low <= rate <= high for rate in rates.values()), rates


@pytest.mark.parametrize("older", [False, True])
def test_newer_items_weigh_more_where_they_tell_what_comes_next_and_not_where_older_ones_do(
    tmp_path, older, monkeypatch
):
    monkeypatch.setattr("multitudes.linear.run.CUTOFF", 5)
    data = two_tastes(tmp_path, older=older)
    held = held_out_users(data, "test")
    for name, model in model_baselines(data, held, ["new"], 5, 5).items():
        assert (model.record["settings"]["recency"] > 0) != older, name


def test_events_of_negative_weight_are_no_history(tmp_path):
    data, of_group = groups(tmp_path), []
    for sign in (1, -1):
        weight = data.event_weight.copy()
        weight[:5] = sign  # the history of the first user, who keeps to the first group
        changed = replace(data, event_weight=weight)
        held = held_out_users(changed, "validation")
        lists = model_baselines(changed, held, ["new"], 5, 5)["item_knn"].lists["new"]
        of_group.append(np.count_nonzero(lists[0] <= GROUP))
    assert of_group[0] == 5 > of_group[1]


def test_a_run_of_the_same_method_leaves_the_row_out(tmp_path):
    data = groups(tmp_path)
    found = model_baselines(data, held_out_users(data, "test"), ["new"], 5, 5, own="linear")
    assert found.keys() == DEFAULTS.keys() - {"linear"}


def test_settings_are_tuned_on_validation_whatever_happens_in_test(tmp_path, monkeypatch):
    monkeypatch.setattr("multitudes.linear.run.CUTOFF", 5)
    data = groups(tmp_path, shuffled=True)
    item = data.event_item.copy()
    in_test = np.flatnonzero(data.event_split == TEST)
    item[in_test] = np.roll(item[in_test], 1)
    changed = replace(data, event_item=item)
    held = held_out_users(data, "validation")
    records = [
        {name: model.record for name, model in model_baselines(one, held, ["new"], 5, 5).items()}
        for one in (data, changed)
    ]
    assert records[0] == records[1]
    users = targets_of_kind(held, "new")
    for name, record in records[0].items():
        rate = "hit_rate" if name == "linear" else "hr@5"
        best = max(record["trials"], key=itemgetter(rate))
        assert record["settings"].items() <= best.items()
        if name in GRIDS:
            assert len(record["trials"]) == 1 + sum(map(len, GRIDS[name]))
        chosen = hit_rates(data, split="validation")[name]
        assert chosen == pytest.approx(best[rate], abs=1e-6)  # the figure is that of validation
    assert len(users) == records[0]["ease"]["users"]


def test_the_second_evaluation_fits_nothing_unless_its_cache_is_damaged_or_cannot_be_written(tmp_path, monkeypatch):
    data = groups(tmp_path)
    first = hit_rates(data)
    kept = list((tmp_path / "baselines").glob("*.*"))
    assert len(kept) > len(DEFAULTS)
    for file in kept:
        file.write_bytes(b"{")
    assert hit_rates(data) == first
    monkeypatch.setattr(module, "fit_model", lambda *_: pytest.fail("fitted again"))
    assert hit_rates(data) == first
    event_item = data.event_item.copy()
    event_item[0] = event_item[1]
    with pytest.raises(pytest.fail.Exception):  # other data have other models
        hit_rates(replace(data, event_item=event_item))


def test_each_fit_is_told_before_it_begins(tmp_path):
    told = []
    data = groups(tmp_path)
    model_baselines(data, held_out_users(data, "test"), ["new"], 5, 5, lambda *call: told.append(call))
    total = len(DEFAULTS)
    assert [call[1] for call in told] == [total] * len(told)
    assert [call[0] for call in told] == sorted(call[0] for call in told)
    assert told[0] == (0, total, "baseline item_knn, shrinkage 20.0, user_exponent 0.0, recency 0.0")
    assert told[-1] == (total, total, "baselines")
    told.clear()  # other users have lists of their own, of the settings that are known
    model_baselines(data, held_out_users(data, "validation"), ["new"], 5, 5, lambda *call: told.append(call))
    assert [call[2].split(",")[0] for call in told] == [*(f"baseline {name}" for name in DEFAULTS), "baselines"]


def test_a_folder_that_cannot_be_written_is_no_harm(tmp_path):
    data = groups(tmp_path)
    (tmp_path / "baselines").write_text("not a folder")
    assert hit_rates(data)["ease"] > 0.95
    assert (tmp_path / "baselines").read_text() == "not a folder"


def test_data_above_a_bound_are_a_noted_absence(tmp_path, monkeypatch):
    data, budgets = groups(tmp_path), (5,)
    held = held_out_users(data, "test")
    monkeypatch.setattr("multitudes.linear.ease_model.MAX_CELLS", 100)
    baselines, records = fit_baselines(data, held, ["new"], budgets, "all")
    assert "neighbours, which has no such bound, stands in for it" in records["ease"]["absent"]
    assert "settings" in records["ials"]
    assert baselines is not None
    listed = baselines.lists(held, [np.array([1])] * len(held), "new", 5)
    assert "ease" not in listed
    assert {"ials", "item_knn", "neighbours", "popularity"} <= listed.keys()
    monkeypatch.setattr(module, "MAX_EVENTS", 100)
    _, records = fit_baselines(data, held, ["new"], budgets, "all")
    assert all("1,200 training events" in record["absent"] for record in records.values())
    json.dumps(records, allow_nan=False)


def test_cheap_baselines_fit_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "fit_model", lambda *_: pytest.fail("fitted"))
    data = groups(tmp_path)
    baselines, records = fit_baselines(data, held_out_users(data, "test"), ["new"], (5,), "cheap")
    assert isinstance(baselines, Baselines)
    assert records == {}
    assert fit_baselines(data, held_out_users(data, "test"), ["new"], (5,), "none") == (None, {})


def test_without_a_validation_split_the_first_settings_are_used(tmp_path):
    data = groups(tmp_path)
    code = np.where(data.event_split == VALIDATION, TEST, data.event_split).astype(np.uint8)
    held = held_out_users(replace(data, event_split=code), "test")
    for name, model in model_baselines(replace(data, event_split=code), held, ["new"], 5, 5).items():
        assert model.record["settings"] == DEFAULTS[name]
        assert model.record["trials"][0].items() >= DEFAULTS[name].items()
        assert [*model.record["trials"][0].values()][-1] is None


def test_equal_scores_come_by_popularity_and_excluded_items_not_at_all():
    scores = np.array([[9, 0, 1, 0, 0], [9, 0, 0, 0, 0]], dtype=np.float32)
    popular = np.array([4, 3, 2, 1])
    excluded = [np.array([3]), np.array([1, 2, 3])]
    assert best_items(scores, popular, excluded, 3).tolist() == [[2, 4, 1], [4, 0, 0]]
