"""A run goes on with newer data: what has a name that was known keeps what was learned, what is new begins anew."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from multitudes.batches.frequency import StreamingFrequency
from multitudes.batches.windows import eligible
from multitudes.cli.main import run
from multitudes.data.planted import PlantedConfig, plant, write
from multitudes.data.prepare import PrepareConfig, prepare
from multitudes.data.prepared import Prepared
from multitudes.errors import DataError, UsageError
from multitudes.nn.user_config import UserTowerConfig
from multitudes.train.config import RunConfig, TrainConfig
from multitudes.train.continuation import begin_with, continued, expect, last_time, places
from multitudes.train.loop import fit, train
from multitudes.train.parallel import ALONE, Ranks
from multitudes.train.run import TrainedRun, weights
from multitudes.train.step import fresh_state

MODEL = UserTowerConfig.model_validate({"width": 8, "history": 10, "crossing": {"hidden": 16}})
CONFIG = RunConfig(
    method="joint", model=MODEL, train=TrainConfig(epochs=1, batch_size=32, in_batch=64, uniform=32, final=True)
)


@pytest.fixture(scope="module")
def days(tmp_path_factory: pytest.TempPathFactory) -> tuple[Prepared, Prepared]:
    """Return the earlier four fifths of a world, and the whole of it, which has items of its own."""
    folder = tmp_path_factory.mktemp("days")
    write(plant(PlantedConfig(users=120, items=150, events=4000, niches=12, topics=6)), folder / "whole")
    write(plant(PlantedConfig(users=120, items=150, events=4000, niches=12, topics=6)), folder / "early")
    events = pl.read_parquet(folder / "whole" / "events.parquet").sort("timestamp")
    cut = events["timestamp"].quantile(0.8)
    new = events["item_id"].unique().sort()[::20]
    early = events.filter((pl.col("timestamp") <= cut) & ~pl.col("item_id").is_in(new.implode()))
    early.write_parquet(folder / "early" / "events.parquet")
    first, second = (prepare(folder / name, folder / f"{name}-p", PrepareConfig()) for name in ("early", "whole"))
    return first, second


@pytest.fixture(scope="module")
def before(days: tuple[Prepared, Prepared], tmp_path_factory: pytest.TempPathFactory) -> TrainedRun:
    return train(days[0], CONFIG, tmp_path_factory.mktemp("runs") / "before")


def ids(prepared: Prepared) -> list[str]:
    return ["", *map(str, prepared.items["item_id"])]


def test_known_items_keep_their_rows_and_new_ones_begin_as_in_any_training(
    days: tuple[Prepared, Prepared], before: TrainedRun
) -> None:
    early, whole = days
    config = continued(CONFIG, before)
    fresh, state = fresh_state(whole, config), fresh_state(whole, config)
    begin_with(state, whole, config, ALONE)
    new, old, untrained = (m.items.id_embedding.weight.detach() for m in (state.model, before.model, fresh.model))
    number = {item: i for i, item in enumerate(ids(early))}
    assert set(ids(whole)) - set(number), "the later world has items of its own"
    for i, item in enumerate(ids(whole)):
        expected = old[number[item]] if item in number else untrained[i]
        assert np.array_equal(new[i], expected), item
    towers = [weights(model) for model in (state.model, before.model)]
    assert np.array_equal(towers[0]["user.history.0.weight"], towers[1]["user.history.0.weight"])


def test_a_rank_takes_over_its_rows(days: tuple[Prepared, Prepared], before: TrainedRun) -> None:
    whole, config = days[1], continued(CONFIG, before)
    one, second = fresh_state(whole, config), Ranks(1, 3)
    part = fresh_state(whole, config, second)
    begin_with(one, whole, config, ALONE)
    begin_with(part, whole, config, second)
    own = second.part(whole.n_items + 1)
    table = one.model.items.id_embedding.weight.detach()[own]
    assert np.array_equal(part.model.items.id_embedding.weight.detach(), table)


def test_only_what_came_since_is_trained_on(
    days: tuple[Prepared, Prepared], before: TrainedRun, tmp_path: Path
) -> None:
    whole, config = days[1], continued(CONFIG, before)
    since = config.train.since
    assert since == last_time(before)
    position = eligible(whole, first_time_only=True, validation_too=True, since=since).all()
    everything = eligible(whole, first_time_only=True, validation_too=True)
    assert 0 < len(position) < len(everything)
    assert whole.event_time[position].min() > since
    after = train(whole, config, tmp_path / "after")
    assert last_time(after) == whole.event_time[position].max()
    assert after.shares == before.shares


def test_where_nothing_came_since_no_run_is_begun(
    days: tuple[Prepared, Prepared], before: TrainedRun, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match="nothing came since then; give newer data"):
        train(days[0], continued(CONFIG, before), tmp_path / "after")
    assert not (tmp_path / "after").exists()


def test_another_model_is_refused(before: TrainedRun) -> None:
    with pytest.raises(UsageError, match="method and \\[model\\]"):
        continued(CONFIG.model_copy(update={"method": "single"}), before)


def test_places_are_by_name() -> None:
    assert places(["", "b", "new", "a"], ["", "a", "b"]).tolist() == [0, 2, -1, 1]


def test_items_are_expected_among_the_negatives_by_their_share() -> None:
    frequency = StreamingFrequency.start(3, 10)
    expect(frequency, np.array([0, 90, 10, 0]), 10)
    met = frequency.probability(np.arange(4))
    assert np.allclose(met[1:3], [1 - 0.1**10, 1 - 0.9**10])
    assert met[3] <= 1e-5
    assert met[1] > met[2], "control: they are not all alike"


def test_the_run_to_go_on_from_is_not_overwritten(days: tuple[Prepared, Prepared], before: TrainedRun) -> None:
    with pytest.raises(UsageError, match="is the run to go on from; give another --out"):
        fit(days[1], continued(CONFIG, before), before.path, overwrite=True)
    assert (before.path / "weights.safetensors").exists()


def test_settings_that_going_on_does_not_take_are_refused(
    before: TrainedRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "other.toml"
    call = ["train", str(before.prepared.path), "--continue", str(before.path), "--out", str(tmp_path / "after")]
    for text, options, said in (
        ("[model]\nwidth = 16\n", [], "goes on with that run's method and [model]"),
        ("[model]\nwidht = 16\n", [], "unknown key 'widht'"),
        ("train = 3\n", [], "expected a table of settings"),
        ("", ["--refit", str(before.path)], "--refit and --continue"),
    ):
        file.write_text(text)
        assert run([*call, "--config", str(file), *options]) == 2
        assert said in capsys.readouterr().err
    assert not (tmp_path / "after").exists()
