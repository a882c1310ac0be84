"""A study's verdicts on planted worlds: what is there is found, what is not there is not, and bad files are named."""

import json

import numpy as np
import polars as pl
import pytest

from multitudes.errors import ArtefactError
from multitudes.evaluation.targets import TARGET_SEGMENTS
from multitudes.report.formatting import TRAINED_CONTROL
from multitudes.report.study_tables import beats_controls
from multitudes.study import summary as overall
from multitudes.study.comparison import (
    PairedOutcomes,
    Resampling,
    compare_by_segment,
    compare_kinds_by_segment,
    compare_methods,
    compare_with_controls,
    compare_with_systems,
    pair_by_user,
    sort_labels,
)
from multitudes.study.summary import summarise, write_summary
from tests.study.planted import TARGETS, outcomes, write_study

FAST = Resampling(1000, 1000)
GAINS = {
    "single": 0.0,
    "equal": 0.0,
    "joint": 0.08,
    "joint/random_partition": 0.0,
    "joint/averaged": 0.08,
    "popularity": -0.15,
}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    rng = np.random.default_rng(0)
    data = {name: outcomes(rng, GAINS, of_seeds=0.005, budgets=(10, 100)) for name in ("first", "second")}
    return write_study(tmp_path_factory.mktemp("study"), data, failed=(("second", "joint", 7),))


@pytest.fixture(scope="module")
def summary(study):
    return summarise(study, FAST)


def verdicts(summary, data):
    judged = {method: found["minus"].get("hr", {}) for method, found in summary["data"][data]["methods"].items()}
    return {method: gain["verdict"] for method, gain in judged.items() if "verdict" in gain}


def test_the_planted_gain_is_found_and_an_equal_method_is_level(summary):
    gain = summary["data"]["first"]["methods"]["joint"]["minus"]["hr"]
    assert gain["low"] < 0.08 < gain["high"]
    assert gain["relative"]["mean"] == pytest.approx(gain["mean"] / figure(summary, "single"), abs=1e-4)
    for data in ("first", "second"):
        assert verdicts(summary, data) == {"equal": "level", "joint": "better", "popularity": "worse"}
    against = summary["data"]["first"]["controls"]["joint"]
    assert (against["random_partition"]["verdict"], against["averaged"]["verdict"]) == ("better", "level")


def figure(summary, method):
    return summary["data"]["first"]["methods"][method]["figures"]["hr"]["mean"]


def test_every_method_is_compared_with_the_strongest_baseline(summary, study):
    strongest = summary["data"]["first"]["strongest_baseline"]
    assert strongest["method"] == "popularity"
    assert strongest["minus"].keys() == {"equal", "joint", "single"}
    gain = strongest["minus"]["joint"]
    assert gain["mean"] == pytest.approx(figure(summary, "joint") - figure(summary, "popularity"), abs=1e-5)
    assert gain["low"] < 0.08 + 0.15 < gain["high"]


def test_figures_are_means_over_seeds_of_pooled_hits_and_curves_show_their_intervals(summary, study, tmp_path):
    frame = pl.read_parquet(study / "outcomes.parquet").filter(data="first", method="joint", budget=100)
    by_seed = frame.group_by("seed").agg(pl.col("hits").sum() / pl.col("targets").sum()).sort("seed")["hits"].to_list()
    assert figure(summary, "joint") == pytest.approx(np.mean(by_seed), abs=1e-6)
    assert summary["data"]["first"]["methods"]["joint"]["by_seed"] == pytest.approx(by_seed, abs=1e-6)
    part = summary["data"]["first"]
    assert list(part["curves"]) == ["10", "100"]
    assert part["curves"]["100"]["joint"].items() >= part["methods"]["joint"]["figures"]["hr"].items()
    assert part["curves"]["10"]["joint"]["mean"] == part["curves"]["100"]["joint"]["mean"]  # planted: the same lists
    joint = summary["data"]["first"]["methods"]["joint"]
    assert joint["figures"]["served"]["mean"] == pytest.approx(joint["figures"]["hr"]["mean"], abs=0.02)
    assert joint["minus"]["served"]["low"] > 0
    assert summary["costs"]["first"]["joint"]["train_seconds"] == pytest.approx(11)
    assert [(cell["data"], cell["method"], cell["seed"]) for cell in summary["failed"]] == [("second", "joint", 7)]
    assert summary["health"]["first"]["joint"]["effective"] == 2.5
    assert json.loads(write_summary(study, summary).read_text()) == summary == summarise(study, FAST)


def null_study(rng, n_methods=8, n_seeds=3, n_users=60):
    """Return a data set on which all methods have the same rate, and their models differ by chance."""
    rate = rng.uniform(0.2, 0.6, n_users) + rng.normal(0, 0.03, (n_methods * n_seeds, 1))
    hits = rng.binomial(TARGETS, np.clip(rate, 0, 1)).astype(float)
    cells = {f"m{number}": list(range(n_seeds)) for number in range(n_methods)}
    return PairedOutcomes(pl.DataFrame({"targets": [float(TARGETS)] * n_users}), cells, {"hits": hits})


def test_the_family_wise_error_of_studies_without_any_difference_is_five_percent_and_without_holm_more():
    rng = np.random.default_rng(1)
    with_holm = without = 0
    for _ in range(200):
        table = compare_methods(null_study(rng), "m0", FAST)
        family = overall.reference_comparisons({"set": {"methods": table}})
        overall.assign_verdicts(family)
        assert len(family) == 7
        with_holm += any(found["verdict"] != "level" for found in family)
        without += any(found["p"] < 0.05 for found in family)
    assert with_holm / 200 < 0.09
    assert without / 200 > 0.13


def test_a_method_and_its_control_are_paired_by_model():
    """Control: were the models' own luck not taken off, the interval would be several times wider."""
    rng = np.random.default_rng(2)
    frame = outcomes(rng, {"joint": 0.0, "single": 0.0}, of_seeds=0.1)
    joint = frame.filter(method="joint")
    worse = joint.with_columns(method=pl.lit("joint/averaged"), hits=pl.col("hits") * 0.98)
    answers = pair_by_user(pl.concat([frame, worse]), "")
    paired = compare_with_controls(answers, FAST, {})["joint"]["averaged"]
    unpaired = compare_methods(answers, "joint", FAST)["joint/averaged"]["minus"]["hr"]
    systems = compare_with_systems({20: answers, 100: answers}, 100, FAST)["joint/averaged"]
    assert systems["hr"] == pytest.approx({bound: paired[bound] for bound in ("mean", "low", "high")}, abs=2e-3)
    assert systems["hr@20"] == systems["hr"]
    assert paired["low"] > 0
    assert unpaired["high"] - unpaired["low"] > 5 * (paired["high"] - paired["low"])


def test_interests_have_to_beat_a_control_that_was_trained_too():
    gains = {"joint": 0.1, "single": 0.0, "parts": 0.15, "joint/random_partition": 0.0, "joint/averaged": 0.0}
    answers = pair_by_user(outcomes(np.random.default_rng(5), gains), "")
    alone, beside = (compare_with_controls(answers, FAST, trained)["joint"] for trained in ({}, {"joint": "parts"}))
    assert set(beside) - set(alone) == {TRAINED_CONTROL}
    assert beside[TRAINED_CONTROL]["high"] < 0
    for found in (alone, beside):
        overall.assign_verdicts(list(found.values()))
    assert beats_controls(alone)
    assert beats_controls(beside) is False


def test_a_gain_of_core_users_is_seen_there_and_only_there():
    frame = outcomes(np.random.default_rng(3), {"single": 0.0, "joint": 0.1}, for_whom="core")
    found = compare_by_segment(pair_by_user(frame, ""), "single", FAST)
    gains = {label: part["minus"]["joint"] for label, part in found["activity"].items()}
    assert gains["core"]["low"] > 0
    assert gains["casual"]["low"] < 0 < gains["casual"]["high"]
    assert all(part["minus"]["joint"]["low"] > 0 for part in found["popularity"].values())
    sums = frame.filter(activity="core").group_by("method").agg(pl.col("hits", "targets").sum()).sort("method")
    joint, single = (sums["hits"] / sums["targets"]).to_list()
    assert gains["core"]["mean"] == pytest.approx(joint - single, abs=1e-5)


def test_users_are_paired_in_whatever_order_their_rows_come():
    frame = outcomes(np.random.default_rng(8), {"single": 0.0, "joint": 0.1}, users=50)
    asked = frame.with_columns(targets=pl.col("user_id").str.slice(1).cast(pl.Float64) + TARGETS)
    plain, mixed = (pair_by_user(rows, "") for rows in (asked, asked.sample(fraction=1, shuffle=True, seed=0)))
    assert plain.users.equals(mixed.users)
    for name, values in plain.measures.items():
        assert np.array_equal(values, mixed.measures[name], equal_nan=True)


def test_segments_have_a_size_an_order_and_an_interval_if_they_are_large():
    frame = outcomes(np.random.default_rng(4), {"single": 0.0, "joint": 0.1}, users=50)
    history = compare_by_segment(pair_by_user(frame, ""), "single", FAST)["history"]
    assert {label: part["users"] for label, part in history.items()} == {"1-9": 17, "10-49": 17, "50+": 16}
    assert all(part["minus"] == {} for part in history.values())
    assert sort_labels(["new", "casual", "core"]) == ["core", "casual", "new"]
    assert sort_labels(["50+", "10-49", "0", "1-9"]) == ["0", "1-9", "10-49", "50+"]
    assert sort_labels(["4.2-11.0", "1.0-4.1", "11.2-20.3"]) == ["1.0-4.1", "4.2-11.0", "11.2-20.3"]


def test_two_sets_are_too_few_to_say_who_wins_overall_and_twelve_are_enough():
    scores = {"a": 0.3, "b": 0.2, "c": 0.1}
    part = {"methods": {m: {"role": "method", "minus": {}, "figures": {"hr": {"mean": s}}} for m, s in scores.items()}}
    few, many = (overall.rank_methods({str(n): part for n in range(sets)}) for sets in (2, 12))
    assert not few["enough"]
    assert few["cliques"] == [["a", "b", "c"]]
    assert many["enough"]
    assert many["cliques"] == []
    assert few["ranks"] == many["ranks"] == {"a": 1, "b": 2, "c": 3}


def test_a_study_without_its_reference_has_figures_and_no_differences(tmp_path):
    data = {"first": outcomes(np.random.default_rng(5), {"joint": 0.0, "equal": 0.0})}
    found = summarise(write_study(tmp_path, data), FAST)["data"]["first"]
    assert found["methods"]["joint"]["figures"]["hr"]["mean"] > 0
    assert found["methods"]["joint"]["minus"] == {}
    assert found["segments"] == {}


def test_cells_that_asked_different_users_are_refused(tmp_path):
    frame = outcomes(np.random.default_rng(6), {"joint": 0.0, "single": 0.0})
    other = frame.with_columns(user_id=pl.when(method="joint").then("user_id" + pl.lit("x")).otherwise("user_id"))
    with pytest.raises(ArtefactError, match="first: methods or seeds were evaluated on different users"):
        summarise(write_study(tmp_path / "other", {"first": other}), FAST)
    fewer = frame.filter((pl.col("method") == "joint") | (pl.col("user_id") != "u3"))
    with pytest.raises(ArtefactError, match="first: methods or seeds were evaluated on different users"):
        summarise(write_study(tmp_path / "fewer", {"first": fewer}), FAST)
    more = frame.with_columns(targets=pl.when(method="joint").then(pl.col("targets") + 1).otherwise("targets"))
    with pytest.raises(ArtefactError, match="different users or targets"):
        summarise(write_study(tmp_path / "more", {"first": more}), FAST)


KINDS = {"single": 0.0, "joint": 0.1, "joint/unconditioned": 0.0, "joint/implicit": 0.1, "joint/explicit": -0.2}


def test_kinds_of_vectors_are_compared_with_the_whole_history_by_segment_beside_the_strongest_baseline():
    frame = outcomes(np.random.default_rng(0), KINDS | {"popularity": -0.1})
    kinds = compare_kinds_by_segment(pair_by_user(frame, "here"), "single", "popularity", FAST)
    assert kinds is not None
    whole, *others = ["joint/unconditioned", "joint/implicit", "joint/explicit", "joint", "popularity"]
    assert (kinds["method"], kinds["systems"]) == ("joint", [whole, *others])
    for segment in [part for parts in kinds["segments"].values() for part in parts.values()]:
        assert segment["minus"].keys() == set(others)
        assert segment["minus"]["joint/implicit"]["low"] > 0 > segment["minus"]["joint/explicit"]["high"]
    without = pair_by_user(frame.filter(pl.col("method") != "joint/explicit"), "here")
    assert compare_kinds_by_segment(without, "single", "popularity", FAST) is None


def test_segments_by_time_are_those_of_data_whose_every_cell_has_them():
    frame = outcomes(np.random.default_rng(0), KINDS)
    parts = TARGET_SEGMENTS["horizon"]
    columns = [pl.col(f"head_{noun}").alias(f"{part}_{noun}") for part in parts for noun in ("hits", "targets")]
    timed = pair_by_user(frame.with_columns(columns), "here")
    found = compare_by_segment(timed, "single", FAST)
    assert found["horizon"]["within_day"]["minus"] == found["popularity"]["head"]["minus"]
    is_old = (pl.col("method") == "joint") & (pl.col("seed") == 0)  # a cell of an earlier version
    some = [pl.when(~is_old).then(column).alias(column.meta.output_name()) for column in columns]
    assert "horizon" not in compare_by_segment(pair_by_user(frame.with_columns(some), "here"), "single", FAST)


def test_kinds_of_vectors_query_the_same_models_so_their_seeds_are_paired():
    frame = outcomes(np.random.default_rng(0), {"single": 0.0, "joint/unconditioned": 0.0})
    whole = frame.filter(method="joint/unconditioned").with_columns(pl.col("head_hits") + pl.col("seed") * 0.3)
    more = {"joint": 0.4, "joint/implicit": 0.2, "joint/explicit": -0.2}  # hits of two targets, of each user and seed
    kinds = [whole.with_columns(pl.lit(name).alias("method"), pl.col("head_hits") + n) for name, n in more.items()]
    paired = pair_by_user(pl.concat([frame.filter(method="single"), whole, *kinds]), "here")
    found = compare_kinds_by_segment(paired, "single", None, FAST)
    assert found is not None
    for name, n in more.items():
        gain = found["segments"]["popularity"]["head"]["minus"][name]
        assert (gain["low"], gain["mean"], gain["high"]) == pytest.approx((n / 2,) * 3, abs=1e-6)
