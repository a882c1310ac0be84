"""Two runs on the same users, one better than the other by a known amount."""

import polars as pl
import pytest

from multitudes.errors import ArtefactError, UsageError
from multitudes.evaluation.compare import compare, read_result
from multitudes.evaluation.config import EvaluateConfig
from multitudes.evaluation.evaluate import evaluate, save
from multitudes.run_record import ListDefaults
from tests.evaluation.worlds import FakeRun, prepared

CONFIG = EvaluateConfig(budgets=(2,), controls="none", targets="new")
USERS = 12


@pytest.fixture
def evaluated(tmp_path):
    """Return a function that evaluates a run which finds the target of the first ``good`` of twelve users."""
    data = prepared(
        tmp_path,
        past=[[1]] * USERS,
        future=[[user + 2] for user in range(USERS)],
        topics=[[item % USERS + 1] for item in range(30)],
        follows=[[user + 1] for user in range(USERS)],
    )

    def run(name, good, users=None):
        folder = tmp_path / name
        folder.mkdir()
        wanted = [[user + 2 if user < good else 30, 29] for user in range(USERS)]
        config = CONFIG.model_copy(update={"max_users": users})
        run = FakeRun(folder, data, wanted, list_defaults=ListDefaults({}, "round_robin", 0.0))
        save(evaluate(run, config), folder)
        return folder

    return run


def test_the_difference_is_that_of_the_hit_rates_over_all_seeds_of_a_side(evaluated):
    figure = compare([evaluated("better", 12)], [evaluated("worse", 4)])["differences"]["new"]["hr@2"]
    assert figure["mean"] == pytest.approx(8 / 12, abs=1e-6)
    assert 0 < figure["low"] < figure["mean"] < figure["high"] < 1
    seeds = [evaluated("seed0", 12), evaluated("seed1", 6)]
    figure = compare(seeds, [evaluated("worst", 0)])["differences"]["new"]["hr@2"]
    assert figure["mean"] == pytest.approx((12 + 6) / 2 / 12, abs=1e-6)


def test_what_cannot_be_compared_is_rejected_by_name(evaluated, tmp_path):
    with pytest.raises(UsageError, match="evaluated on different users, targets or budgets; evaluate both"):
        compare([evaluated("all", 6)], [evaluated("few", 6, users=5)])
    with pytest.raises(ArtefactError, match=r"no evaluation here \(evaluation-test.json is missing\); make it with"):
        compare([evaluated("one", 6)], [tmp_path / "nothing"])
    run = evaluated("damaged", 6)
    (run / "evaluation-test.json").write_text('{"method": ')
    with pytest.raises(ArtefactError, match=r"evaluation-test.json: damaged"):
        read_result(run, "test")


def test_outcomes_without_the_figures_are_evaluated_again(evaluated):
    run = evaluated("one", 6)
    file = run / "outcomes-test.parquet"
    pl.read_parquet(file).drop("served").write_parquet(file)
    with pytest.raises(ArtefactError, match="missing or without figures; evaluate again"):
        compare([run], [run])
