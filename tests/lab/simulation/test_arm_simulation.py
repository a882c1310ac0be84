"""The days of an experiment: equal arms have equal results, and an interruption changes nothing."""

import shutil

import numpy as np
import polars as pl
import pytest

from multitudes.data.clean.attribution import FeedbackLogs
from multitudes.data.prepare import prepare
from multitudes.errors import UsageError
from multitudes.locks import lock
from multitudes_lab.simulation.arm_simulation import ArmSimulation, SimulationProgress, rank_candidates
from multitudes_lab.simulation.config import ExperimentConfig
from multitudes_lab.simulation.day_log import day_file_name
from multitudes_lab.simulation.history import History
from multitudes_lab.simulation.policy import EXPLICIT, CandidateLists, InvertedIndexPolicy
from multitudes_lab.simulation.results import collect_results
from multitudes_lab.simulation.retraining import write_tables
from multitudes_lab.simulation.run import simulate
from multitudes_lab.simulation.world import World
from multitudes_lab.simulation.world_config import WorldConfig, day_start_s
from tests.lab.simulation.worlds import fixed

WORLD = {"users": 300, "items": 500, "topics": 10, "niches": 40}
LOOP = {"past_days": 10, "bootstrap_days": 3, "days": 4, "candidates": 40, "slots": 15}
POPULAR, FOLLOWED = {"policy": "popular"}, {"policy": "followed"}
N, FIRST = LOOP["candidates"], LOOP["bootstrap_days"]


def experiment(*, loop=None, **arms: dict[str, str]) -> ExperimentConfig:
    return ExperimentConfig.model_validate({"world": WORLD, "loop": LOOP | (loop or {}), "arms": arms})


CONFIG = experiment(popular=POPULAR, same=POPULAR, followed=FOLLOWED)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Return the folder of an experiment that was not interrupted, and what its progress said."""
    out, told = tmp_path_factory.mktemp("whole"), []
    simulate(CONFIG, out, lambda *said: told.append(said[:2]))
    return out, told


@pytest.fixture(scope="module")
def world():
    return World(WorldConfig.model_validate(WORLD))


def arm_logs(out, arm: str):
    return out / "seed-0" / "arms" / arm / "logs"


def logs_are_equal(one, other, arm: str) -> bool:
    """Return whether an arm has the same logs, and nothing else, in two folders."""
    files = [sorted(file for file in arm_logs(out, arm).glob("*/*")) for out in (one, other)]
    return len(files[0]) == len(files[1]) and all(
        pl.read_parquet(a).equals(pl.read_parquet(b)) for a, b in zip(*files, strict=True)
    )


def test_equal_arms_have_no_lift_and_different_ones_that_of_their_logs(whole):
    found = collect_results(CONFIG, whole[0])
    assert {one.lift for one in found.lifts if one.arm == "same"} <= {0.0, None}
    same, other = found.lifts_of("feed_saves")
    assert same.lift == 0
    assert abs(other.lift or 0) > 0.01
    for arm, mean in (("popular", other.control), ("followed", other.treatment)):
        folder = arm_logs(whole[0], arm) / "events"
        done = [pl.read_parquet(folder / day_file_name(FIRST + day)) for day in range(LOOP["days"])]
        saves = [len(day.filter(pl.col("request_id").is_not_null() & (pl.col("action") == "save"))) for day in done]
        of_days = found.by_day.filter(arm=arm)["feed_saves"] * WORLD["users"]
        assert of_days.to_list() == pytest.approx(saves)
        assert mean * WORLD["users"] == pytest.approx(sum(saves))


def test_processes_that_finish_together_write_their_tables_in_turn_and_count_the_days(whole):
    others = []

    def another(done: int, total: int, note: str = "") -> None:
        with lock(whole[0] / ".collect.lock", wait=False) as had:
            others.append(had)

    collect_results(CONFIG, whole[0], another)
    assert others == [False] * 3
    assert whole[1] == [(day, 15) for day in range(1, 16)]  # 3 of the bootstrap, 4 of each arm
    told = []
    within = SimulationProgress(lambda *said: told.append(said), 5)
    within.finish_day("a day")
    within.training_progress("joint")(3, 20, "epoch 1")
    assert told[-1] == (1, 5, "joint, training 3/20 epoch 1")


def test_an_interrupted_experiment_ends_like_an_uninterrupted_one(whole, tmp_path):
    def interrupt(done: int, total: int, note: str = "") -> None:
        if note.startswith("seed 0, followed, day 4"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulate(CONFIG, tmp_path, interrupt)
    assert not logs_are_equal(tmp_path, whole[0], "followed")
    simulate(CONFIG, tmp_path)
    assert all(logs_are_equal(tmp_path, whole[0], arm) for arm in CONFIG.arms)


def test_a_day_interrupted_between_its_two_logs_is_simulated_again_with_the_same_result(whole, tmp_path):
    shutil.copytree(whole[0], tmp_path, dirs_exist_ok=True)
    folder, last = arm_logs(tmp_path, "popular"), 6
    for log, day in (("events", last), ("events", last - 1), ("served", last)):
        (folder / log / day_file_name(day)).unlink()
    (folder / "events" / f".{day_file_name(last - 1)}.partial").write_bytes(b"half of it")  # what a kill leaves
    simulate(CONFIG, tmp_path)
    assert logs_are_equal(tmp_path, whole[0], "popular")


@fixed(MOOD_GAIN=1.0)
def test_visitors_who_were_shown_nothing_have_the_same_state_after_an_interruption(tmp_path):
    """They are in no log, so their mood may not change either."""
    world = World(WorldConfig.model_validate(WORLD | {"users": 2000}))

    class Nothing:
        name = "nothing"

        def retrieve(self, _day, user_B, _time_B, _diary) -> CandidateLists:
            candidates = CandidateLists.empty(len(user_B), N)
            candidates.item_BN[::2, :5] = np.arange(5)
            return candidates

    def live(folder, days: int) -> pl.DataFrame:
        life = ArmSimulation(world, CONFIG.loop, folder)
        for day in range(days):
            life.simulate_day(day, Nothing)
        return pl.read_parquet(folder / "served" / day_file_name(days - 1))

    live(tmp_path / "broken", 5)
    assert live(tmp_path / "broken", 8).equals(live(tmp_path / "whole", 8))


def test_a_world_without_visitors_is_rejected_and_names_the_settings(tmp_path):
    config = experiment(loop={"bootstrap_days": 1}, a=POPULAR)
    with fixed(COHORT_VISITS=[0.0] * 5):
        for _ in range(2):  # gone on with, it says the same
            with pytest.raises(UsageError, match="no user visited the feed in the 1 days of the bootstrap"):
                simulate(config, tmp_path)


def test_other_settings_are_rejected_and_arms_may_be_added(tmp_path):
    simulate(experiment(popular=POPULAR), tmp_path)
    simulate(experiment(popular=POPULAR, followed=FOLLOWED), tmp_path)
    with pytest.raises(UsageError, match="other settings of loop"):
        simulate(experiment(loop={"slots": 5}, popular=POPULAR), tmp_path)
    with pytest.raises(UsageError, match=r"other settings of arms\.followed"):
        simulate(experiment(followed=POPULAR), tmp_path)


def test_the_logs_have_the_format_of_a_service_and_attribute_events(whole, world, tmp_path):
    write_tables(world, FIRST, LOOP["past_days"], tmp_path / "tables")
    folder = whole[0] / "seed-0" / "bootstrap"
    logs = FeedbackLogs(folder / "events", folder / "served")
    prepared = prepare(tmp_path / "tables", tmp_path / "prepared", logs=logs, now=day_start_s(FIRST))
    served, events = (pl.read_parquet(folder / log) for log in ("served", "events"))
    in_feed = events.drop_nulls("request_id")
    assert prepared.manifest["sources"]["by_request"] == len(in_feed) > 100
    topic = served.filter(pl.col("condition").is_not_null())
    expected = in_feed.join(topic, on=["request_id", "item_id"], how="semi")
    elsewhere = prepared.manifest["sources"]["by_newest"]  # found by themselves, a short while after they were shown
    assert 0 <= int((prepared.event_source > 0).sum()) - len(expected) <= elsewhere < len(expected)
    assert len(expected) > 20


def test_the_inverted_index_returns_items_of_followed_topics_and_no_seen_items(world):
    history = History(world.users)
    history.add(*(world.organic_actions(day) for day in range(-10, 0)))
    user_B = np.arange(world.users)
    candidates = InvertedIndexPolicy(world, N, "bootstrap").retrieve(
        0, user_B, np.full(world.users, day_start_s(0)), history
    )
    explicit = candidates.source_BN == EXPLICIT
    assert 0 < explicit.mean() < 0.6
    assert (explicit.sum(axis=1) <= N / 2).all()
    said = dict(world.items_table(0).select("item_id", "topics").iter_rows())  # what a service would know
    pairs = list(zip(candidates.item_BN[explicit].tolist(), candidates.topic_BN[explicit].tolist(), strict=True))
    assert all(world.topics[topic] in said[item] for item, topic in pairs)
    assert any(world.topic_I[item] != topic for item, topic in pairs)  # the other topic, which tells nothing
    for b, user in enumerate(user_B):
        followed = set(world.followed_topic[world.followed_offset[user] : world.followed_offset[user + 1]].tolist())
        assert set(candidates.topic_BN[b][explicit[b]].tolist()) <= followed
        items = candidates.item_BN[b].tolist()
        assert len(set(items)) == len(items) == N
        assert not set(items) & set(history.user_actions(int(user), day_start_s(0)).item_E.tolist())


def test_a_policy_knows_organic_saves_up_to_the_moment_of_the_visit(world, tmp_path):
    inverted, known = InvertedIndexPolicy(world, N, "popular"), []

    class Asked:
        name = "asked"

        def retrieve(self, day, user_B, time_B, history) -> CandidateLists:
            for user, time_s in zip(user_B.tolist(), time_B.tolist(), strict=True):
                today = history.user_actions(user, time_s, day_start_s(day))
                own = world.organic_actions(day)
                earlier = (own.user_E == user) & (own.time_E < time_s)
                known.append((today.item_E.tolist(), own.item_E[earlier].tolist()))
            return inverted.retrieve(day, user_B, time_B, history)

    ArmSimulation(world, CONFIG.loop, tmp_path).simulate_day(0, Asked)
    assert all(found == expected for found, expected in known)
    assert any(expected for _, expected in known)


def test_the_ranker_without_noise_shows_the_most_appealing_first():
    appeal = np.array([[0.5, 3.0, -np.inf, 1.0]], dtype=np.float32)
    item = np.array([[7, 8, -1, 9]])
    assert rank_candidates(0, 1, np.array([3]), item, appeal, 3, 0.0).tolist() == [[1, 3, 0]]
    noisy = {tuple(rank_candidates(0, day, np.array([3]), item, appeal, 3, 2.0)[0].tolist()) for day in range(50)}
    assert len(noisy) > 1
    assert all(2 not in order for order in noisy)
