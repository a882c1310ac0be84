"""The days of an experiment: equal arms have equal results, and an interruption changes nothing."""

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
from multitudes_lab.simulation.policy import EXPLICIT, CandidateLists, InvertedIndexPolicy, bootstrap_policy
from multitudes_lab.simulation.results import collect_results
from multitudes_lab.simulation.retraining import write_tables
from multitudes_lab.simulation.run import simulate
from multitudes_lab.simulation.world import World
from multitudes_lab.simulation.world_config import WorldConfig, day_start_s
from tests.lab.simulation.worlds import fixed

WORLD = {"users": 300, "items": 500, "topics": 10, "niches": 40}
LOOP = {"past_days": 10, "bootstrap_days": 3, "days": 4, "candidates": 40, "slots": 15}
POPULAR, FOLLOWED = {"policy": "popular"}, {"policy": "followed"}


def experiment(**arms: dict[str, str]) -> ExperimentConfig:
    return ExperimentConfig.model_validate({"world": WORLD, "loop": LOOP, "arms": arms})


def logs(out, arm: str) -> list[pl.DataFrame]:
    folder = out / "seed-0" / "arms" / arm / "logs"
    return [pl.read_parquet(sorted((folder / log).glob("*.parquet"))) for log in ("served", "events")]


def oracle(world: World, n: int):
    """Return a policy that retrieves the items its users like best: no arm can beat it."""

    class Oracle:
        name = "oracle"

        def retrieve(self, day, user_B, time_B, history) -> CandidateLists:
            candidates = CandidateLists.empty(len(user_B), n)
            there = np.flatnonzero(world.created_I <= day)
            appeal_BI = world.appeal(day, user_B, np.tile(there, (len(user_B), 1)))
            for b, user in enumerate(user_B.tolist()):
                appeal_BI[b, np.isin(there, history.user_actions(user, int(time_B[b])).item_E)] = -np.inf
            candidates.item_BN[:] = there[np.argsort(-appeal_BI, axis=1)[:, :n]]
            return candidates

    return Oracle()


def saves(world: World, policy, tmp_path) -> int:
    """Return the number of saves in the feed in three days of a policy."""
    config = experiment(a=POPULAR)
    life = ArmSimulation(world, config.loop, tmp_path / policy.name)
    for day in range(3):
        life.simulate_day(day, lambda: policy)
    done = life.history.all_actions
    in_feed = pl.read_parquet(tmp_path / policy.name / "events").filter(pl.col("request_id").is_not_null())
    assert len(done.item_E) > len(in_feed)
    return len(in_feed.filter(pl.col("action") == "save"))


def test_equal_arms_have_no_lift_and_different_ones_do(tmp_path):
    config = experiment(control=POPULAR, same=POPULAR, other=FOLLOWED)
    simulate(config, tmp_path)
    found = collect_results(config, tmp_path)
    same = [one for one in found.lifts if one.arm == "same"]
    assert {one.lift for one in same} <= {0.0, None}
    assert any(one.metric == "feed_saves" and one.lift == 0 for one in same)
    assert any(one.arm == "other" and one.metric == "feed_saves" and abs(one.lift or 0) > 0.01 for one in found.lifts)


def test_results_agree_with_the_logs_of_the_test_days(tmp_path):
    config = experiment(control=POPULAR, other=FOLLOWED)
    simulate(config, tmp_path)
    found = collect_results(config, tmp_path)
    first = config.loop.bootstrap_days
    for arm in config.arms:
        folder = tmp_path / "seed-0" / "arms" / arm / "logs" / "events"
        done = [pl.read_parquet(folder / day_file_name(first + day)) for day in range(config.loop.days)]
        saves = [len(day.filter(pl.col("request_id").is_not_null() & (pl.col("action") == "save"))) for day in done]
        of_days = found.by_day.filter(arm=arm)["feed_saves"] * config.world.users
        assert of_days.to_list() == pytest.approx(saves)
        everybody = next(one for one in found.lifts_of("feed_saves"))
        mean = everybody.treatment if arm == "other" else everybody.control
        assert mean * config.world.users == pytest.approx(sum(saves))


def test_processes_that_finish_together_write_their_tables_in_turn(tmp_path):
    config, others = experiment(popular=POPULAR), []
    simulate(config, tmp_path)

    def another(done: int, total: int, note: str = "") -> None:
        with lock(tmp_path / ".collect.lock", wait=False) as had:
            others.append(had)

    collect_results(config, tmp_path, another)
    assert others == [False]


def test_an_interrupted_experiment_ends_like_an_uninterrupted_one(tmp_path):
    config = experiment(popular=POPULAR, followed=FOLLOWED)
    simulate(config, tmp_path / "whole")

    def interrupt(done: int, total: int, note: str = "") -> None:
        if note.startswith("seed 0, followed, day 4"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulate(config, tmp_path / "broken", interrupt)
    assert len(logs(tmp_path / "broken", "followed")[0]) < len(logs(tmp_path / "whole", "followed")[0])
    simulate(config, tmp_path / "broken")
    for arm in config.arms:
        for broken, whole in zip(logs(tmp_path / "broken", arm), logs(tmp_path / "whole", arm), strict=True):
            assert broken.equals(whole)


def test_a_day_interrupted_between_its_two_logs_is_simulated_again_with_the_same_result(tmp_path):
    config = experiment(popular=POPULAR)
    simulate(config, tmp_path / "whole")
    simulate(config, tmp_path / "broken")
    folder, last = tmp_path / "broken" / "seed-0" / "arms" / "popular" / "logs", 6
    for file in (
        folder / "events" / day_file_name(last),
        folder / "events" / day_file_name(last - 1),
        folder / "served" / day_file_name(last),
    ):
        file.unlink()
    (folder / "events" / f".{day_file_name(last - 1)}.partial").write_bytes(b"half of it")  # what a kill leaves
    simulate(config, tmp_path / "broken")
    for broken, whole in zip(logs(tmp_path / "broken", "popular"), logs(tmp_path / "whole", "popular"), strict=True):
        assert broken.equals(whole)
    assert not list(folder.glob("*/.*"))


@fixed(MOOD_GAIN=1.0)
def test_visitors_who_were_shown_nothing_have_the_same_state_after_an_interruption(tmp_path):
    """They are in no log, so their mood may not change either."""
    config = experiment(popular=POPULAR)
    world = World(WorldConfig.model_validate(WORLD | {"users": 2000}))

    class Nothing:
        name = "nothing"

        def retrieve(self, _day, user_B, _time_B, _diary) -> CandidateLists:
            candidates = CandidateLists.empty(len(user_B), 40)
            candidates.item_BN[::2, :5] = np.arange(5)
            return candidates

    def live(folder, days: range, upto: int) -> pl.DataFrame:
        life = ArmSimulation(world, config.loop, folder)
        for day in days:
            life.simulate_day(day, Nothing)
        return pl.read_parquet(folder / "served" / f"day-{upto:05d}.parquet")

    whole = live(tmp_path / "whole", range(8), 7)
    live(tmp_path / "broken", range(5), 4)
    assert live(tmp_path / "broken", range(8), 7).equals(whole)


def test_a_world_without_visitors_is_rejected_and_names_the_settings(tmp_path):
    loop, arms = LOOP | {"bootstrap_days": 1}, {"a": POPULAR}
    for visits, comes in (([0.0] * 5, False), ([0.5] * 5, True)):
        settings = {"world": WORLD, "loop": loop, "arms": arms}
        config, out = ExperimentConfig.model_validate(settings), tmp_path / str(comes)
        with fixed(COHORT_VISITS=visits):
            if comes:
                simulate(config, out)
                continue
            for _ in range(2):  # gone on with, it says the same
                with pytest.raises(UsageError, match="no user visited the feed in the 1 days of the bootstrap"):
                    simulate(config, out)


def test_progress_counts_the_days_of_the_experiment(tmp_path):
    told = []
    simulate(experiment(popular=POPULAR, followed=FOLLOWED), tmp_path, lambda *said: told.append(said[:2]))
    assert told == [(day, 11) for day in range(1, 12)]  # 3 of the bootstrap, 4 of each arm
    within = SimulationProgress(lambda *said: told.append(said), 5)
    within.finish_day("a day")
    within.training_progress("joint")(3, 20, "epoch 1")
    assert told[-1] == (1, 5, "joint, training 3/20 epoch 1")


def test_other_settings_are_rejected_and_arms_may_be_added(tmp_path):
    simulate(experiment(popular=POPULAR), tmp_path)
    simulate(experiment(popular=POPULAR, followed=FOLLOWED), tmp_path)
    changed = ExperimentConfig.model_validate(
        {"world": WORLD, "loop": LOOP | {"slots": 5}, "arms": {"popular": POPULAR}}
    )
    with pytest.raises(UsageError, match="other settings of loop"):
        simulate(changed, tmp_path)
    with pytest.raises(UsageError, match=r"other settings of arms\.followed"):
        simulate(experiment(followed=POPULAR), tmp_path)


def test_an_oracle_gets_more_saves_than_popularity(tmp_path):
    world = World(WorldConfig.model_validate(WORLD))
    n = LOOP["candidates"]
    best = saves(world, oracle(world, n), tmp_path)
    assert best > 1.3 * saves(world, InvertedIndexPolicy(world, n, topic_share=0, name="popular"), tmp_path)


def test_the_logs_have_the_format_of_a_service_and_attribute_events(tmp_path):
    config = experiment(popular=POPULAR)
    simulate(config, tmp_path / "out")
    world, first = config.build_world(0), config.loop.bootstrap_days
    write_tables(world, first, config.loop.past_days, tmp_path / "tables")
    folder = tmp_path / "out" / "seed-0" / "bootstrap"
    prepared = prepare(
        tmp_path / "tables",
        tmp_path / "prepared",
        logs=FeedbackLogs(folder / "events", folder / "served"),
        now=day_start_s(first),
    )
    served, events = (pl.read_parquet(folder / log) for log in ("served", "events"))
    in_feed = events.drop_nulls("request_id")
    assert prepared.manifest["sources"]["by_request"] == len(in_feed) > 100
    topic = served.filter(pl.col("condition").is_not_null())
    expected = in_feed.join(topic, on=["request_id", "item_id"], how="semi")
    elsewhere = prepared.manifest["sources"]["by_newest"]  # found by themselves, a short while after they were shown
    assert 0 <= int((prepared.event_source > 0).sum()) - len(expected) <= elsewhere < len(expected)
    assert len(expected) > 20


def test_the_inverted_index_returns_items_of_followed_topics_and_no_seen_items(tmp_path):
    world = World(WorldConfig.model_validate(WORLD))
    history = History(world.users)
    history.add(*(world.organic_actions(day) for day in range(-10, 0)))
    user_B = np.arange(world.users)
    candidates = bootstrap_policy(world, 40).retrieve(0, user_B, np.full(world.users, day_start_s(0)), history)
    explicit = candidates.source_BN == EXPLICIT
    assert 0 < explicit.mean() < 0.6
    assert (explicit.sum(axis=1) <= 20).all()
    said = dict(world.items_table(0).select("item_id", "topics").iter_rows())  # what a service would know
    pairs = list(zip(candidates.item_BN[explicit].tolist(), candidates.topic_BN[explicit].tolist(), strict=True))
    assert all(world.topics[topic] in said[item] for item, topic in pairs)
    assert any(world.topic_I[item] != topic for item, topic in pairs)  # the other topic, which tells nothing
    for b, user in enumerate(user_B):
        followed = set(world.followed_topic[world.followed_offset[user] : world.followed_offset[user + 1]].tolist())
        assert set(candidates.topic_BN[b][explicit[b]].tolist()) <= followed
        items = candidates.item_BN[b].tolist()
        assert len(set(items)) == len(items) == 40
        assert not set(items) & set(history.user_actions(int(user), day_start_s(0)).item_E.tolist())


def test_a_policy_knows_organic_saves_up_to_the_moment_of_the_visit(tmp_path):
    world, config = World(WorldConfig.model_validate(WORLD)), experiment(popular=POPULAR)
    inverted, known = InvertedIndexPolicy(world, 40, topic_share=0, name="popular"), []

    class Asked:
        name = "asked"

        def retrieve(self, day, user_B, time_B, history) -> CandidateLists:
            for user, time_s in zip(user_B.tolist(), time_B.tolist(), strict=True):
                today = history.user_actions(user, time_s, day_start_s(day))
                own = world.organic_actions(day)
                earlier = (own.user_E == user) & (own.time_E < time_s)
                known.append((today.item_E.tolist(), own.item_E[earlier].tolist()))
            return inverted.retrieve(day, user_B, time_B, history)

    ArmSimulation(world, config.loop, tmp_path).simulate_day(0, Asked)
    assert all(found == expected for found, expected in known)
    assert any(expected for _, expected in known)


def test_the_ranker_without_noise_shows_the_most_appealing_first():
    appeal = np.array([[0.5, 3.0, -np.inf, 1.0]], dtype=np.float32)
    item = np.array([[7, 8, -1, 9]])
    assert rank_candidates(0, 1, np.array([3]), item, appeal, 3, 0.0).tolist() == [[1, 3, 0]]
    noisy = {tuple(rank_candidates(0, day, np.array([3]), item, appeal, 3, 2.0)[0].tolist()) for day in range(50)}
    assert len(noisy) > 1
    assert all(2 not in order for order in noisy)
