"""Two trained models as one: its interests find what those of each find alone, and the list is theirs in turns."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from multitudes.batches.held_out import HeldOut, held_out_users, seen_items, select_users
from multitudes.batches.user_vectors import UserVectors
from multitudes.cli.main import run as command
from multitudes.data.prepared import PreparedData
from multitudes.errors import ArtefactError, UsageError
from multitudes.evaluation.config import EvaluateConfig
from multitudes.evaluation.evaluate import evaluate
from multitudes.linear.interactions import interaction_matrix
from multitudes.linear.neighbour_fit import fit_rows
from multitudes.linear.neighbours import NeighbourFit
from multitudes.linear.run import LinearConfig, make_linear_run
from multitudes.retrieval.blend import allocate_by_weight
from multitudes.retrieval.config import RetrieveConfig
from multitudes.retrieval.scorer import Scorer, catalogue, user_vectors
from multitudes.retrieval.search import find_candidates
from multitudes.run_record import read_record, write_record
from multitudes.training.combined import CombinedRun, combine
from multitudes.training.config import RunConfig
from multitudes.training.loop import train
from multitudes.training.runs import open_run
from multitudes.training.trained_run import TrainedRun
from tests.worlds import SMALL_MODEL, SMALL_WORLD, planted

# Of other widths, scales and similarities: nothing may depend on them.
CLUSTERING = SMALL_MODEL | {"unconditioned": False}
CONDITIONAL = SMALL_MODEL | {"unconditioned": False, "width": 8, "similarity": "cosine"}
SERVED = RetrieveConfig(
    unconditioned_share=0, explicit_share=0.5, blend="round_robin", topics_per_request=1, calibration=0
)
N = 10


def trained(prepared: PreparedData, out: Path, method: str, **settings: object) -> TrainedRun:
    values = {"method": method, "model": SMALL_MODEL | settings, "train": {"epochs": 1}}
    return train(prepared, RunConfig.model_validate(values), out)


@pytest.fixture(scope="module")
def folder(prepared: PreparedData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("runs")
    trained(prepared, folder / "clustering", "clustering", **CLUSTERING)
    trained(prepared, folder / "conditional", "conditional", **CONDITIONAL)
    combine(folder / "conditional", folder / "clustering", folder / "both", blend="round_robin")
    return folder


def users_with_topics(prepared: PreparedData) -> HeldOut:
    held = held_out_users(prepared, "validation")
    return select_users(held, np.flatnonzero([len(prepared.followed_topics(user)) for user in held.user_B.tolist()]))


def vectors_of(run: Scorer, held: HeldOut, config: RetrieveConfig = SERVED) -> UserVectors:
    return user_vectors(run, held, config, catalogue(run, run.item_vectors()))


def best_items(run: TrainedRun, vectors: UserVectors, b: int, k: int, seen: NDArray[np.int64]) -> list[int]:
    """Return all unseen items that a vector of one model may return, best first, by a sort of its scores."""
    prepared, score_I = run.prepared, run.item_vectors() @ vectors.vectors_BKD[b, k]
    allowed = np.setdiff1d(np.arange(1, prepared.n_items + 1), seen)
    topic = int(vectors.topic_BK[b, k])
    if topic:
        allowed = allowed[
            [topic in prepared.item_topic[slice(*prepared.item_topic_offset[i : i + 2])] for i in allowed]
        ]
    return [int(item) for item in allowed[np.argsort(-score_I[allowed], kind="stable")]]


def merge_by_turns(lists: list[list[int]], places: list[int], n: int) -> list[int]:
    """Return one list: in each turn, every list with places left adds its best item that is not taken."""
    merged: list[int] = []
    while len(merged) < n and any(places):
        for k, own in enumerate(lists):
            fresh = [item for item in own if item not in merged]
            if places[k] and fresh:
                merged.append(fresh[0])
            places[k] = max(0, places[k] - 1)
    return merged[:n]


def test_the_list_is_that_of_the_two_models_asked_alone_and_merged_by_turns(
    folder: Path, prepared: PreparedData
) -> None:
    first, second, both = (open_run(folder / name) for name in ("clustering", "conditional", "both"))
    assert isinstance(first, TrainedRun)
    assert isinstance(second, TrainedRun)
    held = users_with_topics(prepared)
    seen = seen_items(prepared, held)
    alone = vectors_of(first, held), vectors_of(second, held)
    found = find_candidates(vectors_of(both, held), catalogue(both, both.item_vectors()), N, seen, SERVED)
    differs = 0
    for b, candidates in enumerate(found):
        weight_K = np.where(alone[0].mask_BK[b], alone[0].weight_BK[b], 0.0)
        places = allocate_by_weight(weight_K, N // 2).tolist()
        implicit = [best_items(first, alone[0], b, k, seen[b]) for k in range(len(places))]
        explicit = best_items(second, alone[1], b, 0, seen[b])
        merged = merge_by_turns([*implicit, explicit], [*places, N - N // 2], N)
        assert candidates.item_N[: len(merged)].tolist() == merged
        differs += candidates.item_N.tolist() != merge_by_turns(implicit, [N] * len(places), N)
    assert differs > len(held) / 2, "control: the second model matters"


def test_every_score_is_that_of_the_vectors_own_model(folder: Path, prepared: PreparedData) -> None:
    first, second, both = (open_run(folder / name) for name in ("clustering", "conditional", "both"))
    held = users_with_topics(prepared)
    vectors, joined_ID = vectors_of(both, held), both.item_vectors()
    assert joined_ID.shape[1] == SMALL_MODEL["width"] + CONDITIONAL["width"]
    assert vectors.kinds == ("implicit",) * 3 + ("explicit",)
    for run, columns in ((first, slice(3)), (second, slice(3, 4))):
        own = vectors_of(run, held)
        score_BKI = own.vectors_BKD @ run.item_vectors().T
        np.testing.assert_allclose(vectors.vectors_BKD[:, columns] @ joined_ID.T, score_BKI, rtol=1e-5, atol=1e-5)
        np.testing.assert_array_equal(vectors.mask_BK[:, columns], own.mask_BK)
        np.testing.assert_array_equal(vectors.topic_BK[:, columns], own.topic_BK)
    np.testing.assert_array_equal(vectors.assignment_BL, vectors_of(first, held).assignment_BL)
    random = user_vectors(both, held, SERVED, catalogue(both, joined_ID), "random")
    assert (random.vectors_BKD[:, :3] != vectors.vectors_BKD[:, :3]).any(), "the control divides the history at random"


def test_of_two_unconditioned_vectors_that_of_the_implicit_interests_stays(
    prepared: PreparedData, tmp_path: Path
) -> None:
    first = trained(prepared, tmp_path / "clustering", "clustering")
    trained(prepared, tmp_path / "conditional", "conditional")
    both, held = (
        combine(tmp_path / "clustering", tmp_path / "conditional", tmp_path / "both"),
        users_with_topics(prepared),
    )
    assert both.kinds(2) == ("unconditioned", *["implicit"] * 3, "explicit", "explicit")
    own, vectors = vectors_of(first, held), vectors_of(both, held)
    np.testing.assert_allclose(
        vectors.vectors_BKD[:, :4, : SMALL_MODEL["width"]], own.vectors_BKD, rtol=1e-5, atol=1e-6
    )
    assert not vectors.vectors_BKD[:, :4, SMALL_MODEL["width"] :].any()
    np.testing.assert_array_equal(vectors.assignment_BL, own.assignment_BL)


def test_the_run_is_evaluated_with_its_controls_and_the_overlap_of_its_kinds(folder: Path) -> None:
    both = CombinedRun.open(folder / "both")
    evaluation = evaluate(both, EvaluateConfig(split="validation", budgets=(N,)), SERVED)
    methods = evaluation.result["methods"]
    assert {"combined", "implicit", "explicit", "random_partition", "other_user"} <= methods.keys()
    assert 0 < evaluation.result["interests"]["overlap"]["mean"] < 1
    assert methods["combined"][f"hr@{N}"]["mean"] > methods["popularity"][f"hr@{N}"]["mean"]


def test_the_record_has_the_list_that_validation_chose_and_the_run_needs_its_sources_no_more(
    folder, prepared, tmp_path
):
    for name in ("clustering", "conditional"):
        trained(prepared, tmp_path / name, name, **(CLUSTERING if name == "clustering" else CONDITIONAL))
    both = combine(tmp_path / "clustering", tmp_path / "conditional", tmp_path / "both")
    record = read_record(both.path)
    assert record["config"]["model"]["runs"] == [str(tmp_path / name) for name in ("clustering", "conditional")]
    assert record["judged_users"] > 0
    assert sum(both.list_defaults.shares.values()) == pytest.approx(1)
    assert both.list_defaults.shares["explicit"] > 0
    assert {round(tried["shares"]["explicit"], 1) for tried in record["list"]["tried"]} == {0.1, 0.2, 0.5, 0.8}
    in_turns = CombinedRun.open(folder / "both")
    assert (both.blend, in_turns.blend, in_turns.list_defaults.calibration) == ("fusion", "round_robin", 0.0)
    assert len(read_record(in_turns.path)["list"]["tried"]) == 4, "in turns, as in the paper, nothing is calibrated"
    for name in ("clustering", "conditional"):
        (tmp_path / name).rename(tmp_path / f"{name} is gone")
    held = users_with_topics(prepared)
    np.testing.assert_array_equal(
        vectors_of(open_run(both.path), held).vectors_BKD, vectors_of(open_run(folder / "both"), held).vectors_BKD
    )


def test_runs_that_do_not_fit_together_are_rejected_with_one_line(folder: Path, prepared: PreparedData, tmp_path: Path):
    clustering = folder / "clustering"
    trained(prepared, tmp_path / "single", "single")
    trained(prepared, tmp_path / "short", "conditional", history=5)
    other = planted(**SMALL_WORLD | {"users": 60, "events": 1500})[1]
    trained(other, tmp_path / "other", "conditional")
    make_linear_run(prepared, tmp_path / "linear", LinearConfig(rank=4))
    for second, message in (
        (clustering, "both have implicit interests; expected, for example, a run of clustering and one of conditional"),
        (tmp_path / "other", "trained on different prepared data; train both on the same"),
        (tmp_path / "short", "read histories of 10 and 5 events; train both with the same"),
        (tmp_path / "linear", "a run of linear; expected one of a method with towers"),
        (folder / "both", "a run of combined; expected one of a method with towers"),
    ):
        with pytest.raises(UsageError, match=message) as rejected:
            combine(clustering, second, tmp_path / "out")
        assert "\n" not in str(rejected.value)
    summed = trained(prepared, tmp_path / "summed", "clustering", **CLUSTERING)
    matrix = interaction_matrix(prepared)
    fit_rows(matrix, NeighbourFit()).save(summed.path)
    write_record(summed.path, read_record(summed.path) | {"neighbours": NeighbourFit().model_dump()})
    with pytest.raises(UsageError, match="has neighbours; train it with"):
        combine(summed.path, folder / "conditional", tmp_path / "out")
    with pytest.raises(UsageError, match="no interests to combine"):
        combine(tmp_path / "single", tmp_path / "single", tmp_path / "out")
    with pytest.raises(UsageError, match="is one of the runs to combine"):
        combine(clustering, folder / "conditional", clustering, overwrite=True)
    with pytest.raises(ArtefactError, match="no run here"):
        combine(clustering, tmp_path / "nowhere", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_command_combines_and_says_what_it_made(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    call = ["combine", str(folder / "clustering"), str(folder / "conditional"), "--out", str(tmp_path / "both")]
    assert command(call) == 0
    printed = capsys.readouterr().out
    assert "one item vector 24 wide; 3 implicit, 1 explicit" in printed
    assert f"next: multitudes evaluate {tmp_path / 'both'}" in printed
    assert command(call) == 2
    assert "give another --out, or replace it with --overwrite" in capsys.readouterr().err
    assert command([*call, "--overwrite", "--json"]) == 0
    assert command(["train", str(folder), "--refit", str(tmp_path / "both"), "--out", str(tmp_path / "final")]) == 2
    assert "expected a run whose training is finished" in capsys.readouterr().err
