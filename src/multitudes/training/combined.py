"""A combined run: two trained models published as one, such as the paper's DCM and CR.

::

    RUN/run.json     as of a trained run; config.method is "combined"
        first/       the run whose interests come first, as it was: implicit interests before explicit ones
        second/      the other one

The run has its own copies, so it does not change when their sources do.
"""

import shutil
from pathlib import Path
from typing import Final, Literal

import torch
from pydantic import Field
from torch import Generator, Tensor, nn
from torch.nn.functional import pad

from multitudes.atomic import replace_folder
from multitudes.batches.user_vectors import INTEREST_KINDS
from multitudes.config import Config, parse
from multitudes.errors import UsageError
from multitudes.nn.interest_assignment import Interests
from multitudes.nn.methods import COMBINED, Partition
from multitudes.nn.two_tower import HistoryInputs, ItemFeatures, ItemTower, TwoTower
from multitudes.nn.user_tower import TowerOutput, concatenate_interests
from multitudes.retrieval.config import Blend
from multitudes.run_record import data_digest, needs_making, new_record, parse_config, read_record, write_record
from multitudes.training.selection import choose_list, draw_validation_users
from multitudes.training.trained_run import TrainedRun


class CombinedItems(ItemTower):
    """Two item towers of the same items, whose id embeddings become one table."""

    def __init__(self, first: ItemTower, second: ItemTower) -> None:
        nn.Module.__init__(self)  # all parts of an item tower exist already
        for name in ItemFeatures._fields:
            self.register_buffer(name, getattr(first, name), persistent=False)
        self.first_width = first.id_embedding.embedding_dim
        weight_ID = torch.cat([first.id_embedding.weight, second.id_embedding.weight], dim=1)
        self.id_embedding = nn.Embedding(weight_ID.shape[0], weight_ID.shape[1], _weight=weight_ID.detach())
        del first.id_embedding, second.id_embedding
        self.first, self.second = first, second

    def split(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Return the values of each model (…, d), from those of both (…, D)."""
        return values[..., : self.first_width], values[..., self.first_width :]

    def inputs_from_features(self, id_ND: Tensor, known: ItemFeatures) -> Tensor:
        """Return the history-side input of items (N, D), from their features and their id embeddings ``id_ND``."""
        towers = zip((self.first, self.second), self.split(id_ND), strict=True)
        return torch.cat([tower.inputs_from_features(id_Nd, known) for tower, id_Nd in towers], dim=1)


class CombinedTowers(TwoTower):
    """Two trained models as one: one item table, one index and one search serve the interests of both.

    An item has the vectors of both, [v ; v'], an interest of the first model is [u ; 0] and one of the second [0 ; u'],
    so every inner product is that of the interest's own model. D is the sum of both widths d.
    """

    items: CombinedItems

    def __init__(self, first: TwoTower, second: TwoTower) -> None:
        """Combine two models of the same data, which cannot be used alone any more."""
        nn.Module.__init__(self)  # all parts of a model exist already
        self.items = CombinedItems(first.items, second.items)
        self.first, self.second = first, second
        self.has_unconditioned = first.has_unconditioned or second.has_unconditioned
        self.n_implicit = first.n_implicit + second.n_implicit
        self.has_explicit = first.has_explicit or second.has_explicit
        self._left_out = int(first.has_unconditioned and second.has_unconditioned)

    def item_vectors(self, input_ND: Tensor, content_NE: Tensor) -> Tensor:
        """Return the vectors of both models for each item (N, D)."""
        towers = zip((self.first, self.second), self.items.split(input_ND), strict=True)
        return torch.cat([model.item_vectors(input_Nd, content_NE) for model, input_Nd in towers], dim=1)

    def user_vectors(
        self, users: HistoryInputs, generator: Generator | None = None, partition: Partition = "interests"
    ) -> TowerOutput:
        """Return the columns of the first model, then those of the second; of two unconditioned ones, the first."""
        (first, first_BL), (second, second_BL) = (
            model.user_vectors(users._replace(input_BLD=input_BLd), generator, partition)
            for model, input_BLd in zip((self.first, self.second), self.items.split(users.input_BLD), strict=True)
        )
        second = Interests(*(values[:, self._left_out :] for values in second))
        widths = first.vectors_BKD.shape[2], second.vectors_BKD.shape[2]
        first = first._replace(vectors_BKD=pad(first.vectors_BKD, (0, widths[1])))
        second = second._replace(vectors_BKD=pad(second.vectors_BKD, (widths[0], 0)))
        shift = first.mask_BK.shape[1] - self._left_out
        # Only one of the models has implicit interests, so an event belongs to at most one column.
        assignment_BL = torch.maximum(first_BL, torch.where(second_BL >= 0, second_BL + shift, -1))
        return TowerOutput(concatenate_interests([first, second]), assignment_BL)


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
    """Return two trained runs as one, which is evaluated and published like any other. Nothing is trained.

    The list is chosen on validation, as at the end of a training. Of two unconditioned vectors, that of the run with
    implicit interests stays.

    Args:
        first: folder of a finished run, such as one of ``clustering``.
        second: folder of another one on the same prepared data, such as one of ``conditional``.
        out: the run folder; it appears complete or not at all.
        blend: of the list, unless ``[retrieve]`` names another; the paper's is ``round_robin``.
        resume: open ``out`` if it already is this run.
        overwrite: replace ``out`` if it is a run.

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
        if run.neighbours is not None:  # the combined run would have two
            raise UsageError(f"{run.path}: has neighbours; train it with [model] neighbours = false")
