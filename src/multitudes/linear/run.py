"""A run of the method ``linear``: EASE or ELSA, one vector per user, the sum over a history. Needs no torch.

::

    RUN/run.json             as of a trained run
        linear_input.npy     what an item adds to the user's vector (I + 1, R)
        linear_output.npy    vectors of all items (I + 1, R), as in the index; zeros: the item has none
        linear.json          the recency
        metrics.jsonl        seconds of the fit, interactions per second

Legend: U users of the data · B users · I items · R rank.
"""

import time
from pathlib import Path
from typing import Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from multitudes.atomic import replace_folder
from multitudes.batches.held_out import HeldOut, held_out_users, select_targets, select_users
from multitudes.batches.user_vectors import InterestKind, UserHistories, UserVectors
from multitudes.config import C, Config
from multitudes.data.arrays import expand_ranges
from multitudes.data.own_items import positive_items
from multitudes.data.prepared import PreparedData
from multitudes.errors import ArtefactError
from multitudes.linear.fit import UNTRIED, fit
from multitudes.linear.history import KINDS_ALONE, HistoryModel, HistoryWeights, LinearFit, LinearHistory
from multitudes.linear.interactions import history_matrix, interaction_matrix, require_pairs
from multitudes.linear.neighbours import MAX_HISTORY, Neighbours
from multitudes.metrics.ranking import hits_of_scores, target_rows
from multitudes.nn.methods import LINEAR, Partition
from multitudes.progress import Progress, silent
from multitudes.run_record import (
    ListDefaults,
    UntrainedRun,
    WithoutEvents,
    append_metrics,
    needs_making,
    new_record,
    open_untrained,
    parse_config,
    read_record,
    write_record,
)
from multitudes.seeding import generator

CUTOFF: Final = 100  # N of the hit rate
_MAX_USERS: Final = 5_000
_MAX_SCORES: Final = 10**9  # of all validation users: bounds their number on a large corpus
_SCORES_PER_CHUNK: Final = 1 << 25


class Validation(NamedTuple):
    """Users with first-time targets in validation, and what they engaged with before."""

    prepared: PreparedData
    held: HeldOut  # first-time targets alone
    positives: list[NDArray[np.int64]]

    @classmethod
    def sample(cls, prepared: PreparedData) -> "Validation":
        """Return some users, drawn at random: the first users of a file differ from the others."""
        held = held_out_users(prepared, "validation")
        held = select_targets(held, held.target_is_first_time)
        most = min(_MAX_USERS, _MAX_SCORES // (prepared.n_items + 1))
        rows = generator(0, "linear", "validation users").permutation(len(held))[:most]
        held = select_users(held, rows)
        return cls(prepared, held, positive_items(prepared, held.user_B, held.end_B))

    def hit_rate(self, model: HistoryModel, recency: float) -> float:
        """Return the share of the targets that are among the ``CUTOFF`` best unseen items of their users.

        A target that ties with the first item beyond the cut-off is a miss, so a user without a score has no hit.
        """
        newest = MAX_HISTORY if isinstance(model, Neighbours) else 0
        history = history_matrix(self.positives, self.prepared.n_items, recency, newest)
        held, hits, unscored_I = self.held, 0, ~model.is_scored()
        owner_T = target_rows(held.target_offset)
        step = max(1, min(256, _SCORES_PER_CHUNK // len(unscored_I)))
        for start in range(0, len(held), step):
            users = slice(start, start + step)
            score_BI = model.scores(history[users])
            row, position = expand_ranges(self.prepared.event_offset[held.user_B[users]], held.end_B[users])
            score_BI[row, self.prepared.event_item[position]] = -np.inf
            score_BI[:, unscored_I] = -np.inf
            targets = slice(*np.searchsorted(owner_T, [start, start + len(score_BI)]).tolist())
            hits += hits_of_scores(score_BI, owner_T[targets] - start, held.target[targets], CUTOFF)
        return hits / max(len(held.target), 1)


class LinearConfig(WithoutEvents):
    """Section [linear]: settings of a linear model; validation chooses all others."""

    rank: int = Field(64, gt=0, le=4096, description="width of the vectors")


class LinearRunConfig(Config):
    """All settings of a run; together with the prepared data they determine it. Named like those of a trained run."""

    method: Literal["linear"] = LINEAR
    seed: int = Field(0, description="Kept for comparisons by seed; the method draws nothing.")
    model: LinearConfig = LinearConfig()
    linear_fit: LinearFit | None = Field(
        None, description="Of the run before, which validation chose; fit on validation events too."
    )


def refit_config(model: type[C], origin: Path, seed: int, name: str, chosen: type[HistoryWeights]) -> C:
    """Return the settings of a run that is fitted again, with what its validation chose under ``name``."""
    record = read_record(origin)
    return parse_config(model, record, origin).model_copy(update={"seed": seed, name: chosen.of(record)})


class OneVectorRun(UntrainedRun[C]):
    """A run with one vector of the whole history for each user."""

    list_defaults = ListDefaults({"unconditioned": 1.0}, "global_top", 0.0)  # there is one list: nothing is blended

    def kinds(self, topics: int) -> tuple[InterestKind, ...]:
        """Return the kind of every column of the user vectors; none is conditioned on topics."""
        del topics
        return KINDS_ALONE


class LinearRun(OneVectorRun[LinearRunConfig]):
    """A linear model: one vector of width R for each user."""

    def __init__(self, path: Path, prepared: PreparedData, config: LinearRunConfig, linear: LinearHistory) -> None:
        super().__init__(path, prepared, config, linear.output_IR)
        self.linear = linear

    @classmethod
    def open(cls, path: str | Path, prepared: str | Path | None = None) -> "LinearRun":
        """Open a run; see ``training.runs.open_run``."""
        folder, data, config = open_untrained(LinearRunConfig, path, prepared)
        linear = LinearHistory.open(folder)
        if len(linear.input_IR) != data.n_items + 1:
            raise ArtefactError(
                f"{folder}: holds {len(linear.input_IR) - 1} items; expected {data.n_items};"
                " train again with --overwrite"
            )
        return cls(folder, data, config, linear)

    def user_vectors(self, users: UserHistories, partition: Partition = "interests") -> UserVectors:
        """Return the vectors of B users; see ``retrieval.scorer.Scorer``. A user without a positive has none."""
        del partition
        assert users.positives is not None, "a linear history needs the items of the entire history"
        return self.linear.user_vectors(users.positives, users.histories.item_BL.shape[1])


def make_linear_run(
    prepared: PreparedData,
    out: str | Path,
    config: LinearConfig | None = None,
    *,
    seed: int = 0,
    refit: str | Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    progress: Progress = silent,
) -> LinearRun:
    """Fit a linear model on the training events.

    Args:
        prepared: the prepared data.
        out: the run folder; it appears complete or not at all.
        config: the settings.
        seed: is recorded; the method draws nothing.
        refit: a run of this method, whose settings are taken with what its validation chose, in place of ``config``;
            then the validation events are fitted too.
        resume: open ``out`` if it already is this run.
        overwrite: replace ``out`` if it is a run.
        progress: called after each fit.

    Returns:
        The finished run.

    Raises:
        UsageError: ``out`` exists, or a setting of ``refit`` is wrong.
        DataError: no user engaged with two items in training.
        ArtefactError: ``out`` should be replaced and is not a run, or ``refit`` is none.
    """
    folder, whole = Path(out), LinearRunConfig(seed=seed, model=config or LinearConfig())
    if refit is not None:
        whole = refit_config(LinearRunConfig, Path(refit), seed, "linear_fit", LinearFit)
    chosen = whole.linear_fit
    record = new_record(prepared, whole.model_dump(mode="json"))
    if not needs_making(folder, record, resume=resume, overwrite=overwrite):
        return LinearRun.open(folder, prepared.path)
    started_s = time.perf_counter()
    validation = Validation.sample(prepared) if chosen is None else None  # nobody is left to judge a final fit
    judged_users = 0 if validation is None else len(validation.held)
    matrix = interaction_matrix(prepared, include_validation=chosen is not None)
    require_pairs(matrix, prepared)
    found = fit(
        matrix,
        whole.model.rank,
        validation.hit_rate if validation is not None and judged_users else None,
        untried=chosen or UNTRIED,
        progress=progress,
    )
    seconds = time.perf_counter() - started_s
    with replace_folder(folder) as partial:
        LinearHistory(found.factors, HistoryWeights(recency=found.chosen.recency)).save(partial)
        speed = {"seconds": round(seconds, 3), "targets_per_s": round(found.interactions / max(seconds, 1e-9), 1)}
        append_metrics(partial / "metrics.jsonl", {"epoch": 1, **speed})
        write_record(partial, record | {"finished": True, "judged_users": judged_users} | found.record())
    return LinearRun.open(folder, prepared.path)
