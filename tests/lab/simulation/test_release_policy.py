"""An arm served by a release: it is trained in the world and uses the retriever of the service."""

import json

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from multitudes.cli.main import app
from multitudes.retrieval.retriever import Retriever
from multitudes_lab.simulation.config import read_experiment
from multitudes_lab.simulation.history import History
from multitudes_lab.simulation.policy import SOURCES
from multitudes_lab.simulation.release_policy import ReleasePolicy, Reranker
from multitudes_lab.simulation.world_config import day_start_s
from tests.lab.simulation.worlds import fixed

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("shared_exports")]

WORLD = """
name = "tiny"
[world]
users = 200
items = 300
topics = 8
niches = 24
[loop]
past_days = 15
bootstrap_days = 4
days = 4
retrain_every = 2
candidates = 40
slots = 15
[model]
width = 16
history = 10
interests = 3
crossing.hidden = 16
neighbours = false
[train]
epochs = 1
[arms.joint]
[arms.turns]
like = "joint"
[arms.turns.retrieve]
blend = "round_robin"
unconditioned_share = 0.25
explicit_share = 0.1
[arms.dpp]
like = "joint"
rerank = "dpp"
"""


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    """Return the folder of an experiment run from the command line, its settings, and its output."""
    folder = tmp_path_factory.mktemp("simulated")
    (folder / "world.toml").write_text(WORLD, encoding="utf-8")
    call = ["simulate", str(folder / "world.toml"), "--out", str(folder / "out"), "--json"]
    with fixed(NEW_ITEMS_SHARE=0.5):  # also where the tests make the world again
        result = CliRunner().invoke(app, call)
        assert result.exit_code == 0, result.output
        yield folder / "out", read_experiment(folder / "world.toml"), json.loads(result.stdout.splitlines()[-1])


def test_the_command_simulates_every_arm_and_reports_lifts(simulated):
    out, config, said = simulated
    assert said["arms"] == list(config.arms)
    assert {"everybody", "core"} <= said["metrics"]["feed_saves"]["turns"].keys()
    assert said["spread"]["turns"]["candidates, implicit"] > 0
    assert 0 < said["spread"]["joint"]["tastes"] <= 1
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "This world is simulated" in page
    assert page.count("<svg") > 5


def test_an_arm_retrains_on_its_own_logs_and_arms_that_share_a_training_have_one_run(simulated):
    out, config, _ = simulated
    arm = out / "seed-0" / "arms" / "joint"
    assert sorted(file.name for file in arm.glob("released-*.json")) == ["released-00004.json", "released-00006.json"]
    born = config.build_world(0).created_I
    served = pl.read_parquet(arm / "logs" / "served" / "day-00005.parquet")["item_id"].to_numpy()
    assert (born[served] == 5).any()  # of a release that was made a day before
    assert (born[served] <= 5).all()
    runs = {file.parent.name for file in (out / "seed-0" / "learned" / "runs").glob("*/run.json")}
    assert runs == {"joint"}


def test_candidates_are_those_of_the_retriever_with_the_actions_since(simulated):
    out, config, _ = simulated
    world, retriever = config.build_world(0), Retriever.open(out / "seed-0" / "arms" / "joint" / "releases")
    history = History(world.users)
    history.add(*(world.organic_actions(day) for day in range(6, 8)))
    user_B, time_B = np.arange(world.users), np.full(world.users, day_start_s(8))
    candidates = ReleasePolicy(retriever, 40, world.topics, day_start_s(6)).retrieve(8, user_B, time_B, history)
    same: dict[bool, list[bool]] = {True: [], False: []}  # by whether the user did nothing since
    for user in range(60):
        since = history.user_actions(user, day_start_s(8)).item_E
        answer = retriever.recommend(user, n=40, request_id=f"8-{user}").candidates
        items = candidates.item_BN[user].tolist()
        assert not set(items) & set(since.tolist())
        sources = [SOURCES[code] for code in candidates.source_BN[user]]
        topics = [world.topics[topic] if topic >= 0 else None for topic in candidates.topic_BN[user].tolist()]
        same[len(since) == 0].append(
            items == [one.item_id for one in answer]
            and sources == [one.source for one in answer]
            and candidates.score_BN[user] == pytest.approx([one.score for one in answer])  # asked together: last digits
            and candidates.interest_BN[user].tolist()
            == [-1 if one.interest is None else one.interest for one in answer]
            and topics == [one.interest_name if one.source == "explicit" else None for one in answer]
        )
    assert all(same[True])
    assert not all(same[False])
    assert min(len(found) for found in same.values()) > 5


def test_a_reranker_chooses_from_a_longer_list(simulated):
    out, config, _ = simulated
    world, retriever = config.build_world(0), Retriever.open(out / "seed-0" / "arms" / "joint" / "releases")
    history, user_B, time_B = History(world.users), np.arange(40), np.full(40, day_start_s(8))

    def lists(reranker: Reranker | None) -> list[list[int]]:
        policy = ReleasePolicy(retriever, 40, world.topics, day_start_s(6), reranker)
        found: list[list[int]] = policy.retrieve(8, user_B, time_B, history).item_BN.tolist()
        return found

    answers = [retriever.recommend(user, n=600, request_id=f"8-{user}") for user in user_B.tolist()]
    longer = [[one.item_id for one in answer.candidates] for answer in answers]
    for name in ("mmr", "dpp"):
        assert lists(Reranker(name, 0.0)) == [of_user[:40] for of_user in longer]
        diverse = lists(Reranker(name, 0.8))
        for found, of_user in zip(diverse, longer, strict=True):
            assert len(set(found)) == 40
            assert set(found) <= set(of_user)
            assert found[0] == of_user[0]
        assert np.mean([len({*found} - {*of_user[:40]}) for found, of_user in zip(diverse, longer, strict=True)]) > 5


def test_the_tables_of_a_test_have_each_user_in_one_arm(simulated):
    out, config, _ = simulated
    exposures = pl.read_parquet(out / "seed-0" / "exposures.parquet")
    assert exposures["user_id"].is_unique().all()
    assert set(exposures["arm"]) == set(config.arms)
    logs = out / "seed-0" / "arms" / "joint" / "logs"
    again = [str(logs), str(out / "again.parquet"), "--items", str(out / "seed-0" / "items.parquet"), "--json"]
    made = CliRunner().invoke(app, ["outcomes", *again, "--since", "2023-11-18T22:13:20"])  # day 4
    assert made.exit_code == 0, made.output
    assert json.loads(made.stdout.splitlines()[-1])["metrics"]
    written = pl.read_parquet(out / "seed-0" / "arms" / "joint" / "outcomes.parquet")
    assert pl.read_parquet(out / "again.parquet").equals(written)
    result = CliRunner().invoke(
        app,
        ["readout", *(str(out / "seed-0" / f"{name}.parquet") for name in ("exposures", "outcomes")),
         "--control", "joint", "--metric", "feed_saves", "--json"],
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout.splitlines()[-1])["srm"]["ok"]
