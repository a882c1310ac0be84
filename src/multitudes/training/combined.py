"""A combined run: two trained models published as one, such as the paper's DCM and CR (``nn.combined``).

::

    RUN/run.json     as of a trained run; config.method is "combined"
        first/       the run whose interests come first, as it was: implicit interests before explicit ones
        second/      the other one

The run has its own copies, so it does not change when their sources do.
"""

import shutil
from pathlib import Path
from typing import Final, Literal

from pydantic import Field

from multitudes.atomic import replace_folder
from multitudes.batches.user_vectors import INTEREST_KINDS
from multitudes.config import Config, parse
from multitudes.errors import UsageError
from multitudes.nn.combined import CombinedTowers
from multitudes.nn.methods import COMBINED
from multitudes.retrieval.config import Blend
from multitudes.run_record import data_digest, needs_making, new_record, parse_config, read_record, write_record
from multitudes.training.selection import choose_list, draw_validation_users
from multitudes.training.trained_run import TrainedRun

_FOLDERS: Final = ("first", "second")
_NOT_COPIED: Final = ("checkpoint", "state.safetensors", "evaluation-*.json", "outcomes-*.parquet", "report.html")


class CombinedConfig(Config):
    """What a combined run is made of."""

    runs: tuple[str, ...] = Field((), description="the folders that the two runs were copied from")
    history: int = Field(1, ge=1, description="most recent events that both towers read")
    blend: Blend = Field("fusion", description="blend that the list is chosen for and served by")


class CombinedRunConfig(Config):
    """All settings of a combined run, named like those of a trained run."""

    method: Literal["combined"] = COMBINED
    seed: int = 0
    model: CombinedConfig = CombinedConfig()


class CombinedRun(TrainedRun):
    """Two trained models as one, with their prepared data."""

    config: CombinedRunConfig  # type: ignore[assignment]  # has what is read of a run that is not trained further

    def __init__(self, path: Path, config: CombinedRunConfig, first: TrainedRun, second: TrainedRun) -> None:
        super().__init__(path, first.prepared, first.config, CombinedTowers(first.model, second.model))
        self.config = config

    @classmethod
    def open(cls, path: str | Path, prepared: str | Path | None = None) -> "CombinedRun":
        """Open a run; see ``TrainedRun.open``."""
        folder = Path(path)
        record = read_record(folder)
        first, second = (TrainedRun.open(folder / name, prepared or record["prepared"]) for name in _FOLDERS)
        return cls(folder, parse_config(CombinedRunConfig, record, folder), first, second)

    @property
    def blend(self) -> Blend:
        """The blend that the list was chosen for."""
        return self.config.model.blend


def combine(
    first: str | Path,
    second: str | Path,
    out: str | Path,
    *,
    blend: Blend = "fusion",
    resume: bool = False,
    overwrite: bool = False,
) -> CombinedRun:
    """Combine two trained runs into one, which is evaluated and published like any other. Nothing is trained.

    The list is chosen on validation, as at the end of a training. Of two unconditioned vectors, that of the run with
    implicit interests stays.

    Args:
        first: folder of a finished run, such as one of ``clustering``.
        second: folder of another one on the same prepared data, such as one of ``conditional``.
        out: the run folder; it appears complete or not at all.
        blend: of the list, unless ``[retrieve]`` names another; the paper's is ``round_robin``.
        resume: open ``out`` if it already is this run.
        overwrite: replace ``out`` if it is a run.

    Returns:
        The combined run.

    Raises:
        UsageError: ``out`` exists, or the runs do not fit together.
        ArtefactError: one of them is no finished run of a trained method, or is damaged.
    """
    members = [_open_member(Path(run)) for run in (first, second)]
    out, members = Path(out), sorted(members, key=lambda run: INTEREST_KINDS.index(run.kinds(1)[-1]))
    _check_members(*members)
    if out.resolve() in [run.path.resolve() for run in members]:
        raise UsageError(f"{out}: is one of the runs to combine; give another --out")
    settings = members[0].config
    runs = tuple(str(run.path.resolve()) for run in members)
    chosen = {"runs": runs, "history": settings.model.history, "blend": blend}
    model = parse(CombinedConfig, chosen, "options")
    config = CombinedRunConfig(seed=settings.seed, model=model)
    record = new_record(members[0].prepared, config.model_dump(mode="json"))
    if not needs_making(out, record, resume=resume, overwrite=overwrite):
        return CombinedRun.open(out)
    run = CombinedRun(out, config, *members)
    record |= {"finished": True, "shares": {}, "calibration": None}
    if not any(member.config.final for member in members):  # or nobody is left to choose the list
        held, n = draw_validation_users(run.prepared, settings), min(settings.train.eval_k, run.prepared.n_items)
        choice = choose_list(run, held, n)
        record |= {"judged_users": len(held)} | ({} if choice is None else choice.to_record())
    with replace_folder(out) as partial:
        for folder, name in zip(runs, _FOLDERS, strict=True):
            shutil.copytree(folder, partial / name, ignore=shutil.ignore_patterns(*_NOT_COPIED))
        write_record(partial, record)
    return run


def _open_member(folder: Path) -> TrainedRun:
    settings = read_record(folder)["config"]
    if "train" not in settings:
        raise UsageError(f"{folder}: a run of {settings.get('method')}; expected one of a method with towers")
    return TrainedRun.open(folder)


def _check_members(first: TrainedRun, second: TrainedRun) -> None:
    """Check that two runs are of the same data and fit together."""
    where, lengths = f"{first.path} and {second.path}", [run.config.model.history for run in (first, second)]
    if data_digest(first.prepared) != data_digest(second.prepared):
        raise UsageError(f"{where}: trained on different prepared data; train both on the same")
    if lengths[0] != lengths[1]:
        raise UsageError(f"{where}: read histories of {lengths[0]} and {lengths[1]} events; train both with the same")
    kinds = [set(run.kinds(1)) for run in (first, second)]
    twice = " and ".join(sorted((kinds[0] & kinds[1]) - {"unconditioned"}))
    if twice or kinds[1] <= kinds[0]:
        what = f"both have {twice} interests" if twice else "no interests to combine"
        raise UsageError(f"{where}: {what}; expected, for example, a run of clustering and one of conditional")
    for run in (first, second):
        if run.linear is not None:  # a release joins it to every vector, by one weight
            raise UsageError(f"{run.path}: has a linear history; train it with [model] linear.rank = 0")
