"""Open a run of any method, and make a run of PinnerSage.

A trained run needs torch. Runs of PinnerSage, of a linear model and of followed topics need none, so torch is imported
only where a trained run is opened.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from multitudes.data.prepared import PreparedData
from multitudes.errors import UsageError, missing_extra
from multitudes.linear.followed import FollowedRun
from multitudes.linear.neighbours_run import NeighboursRun
from multitudes.linear.run import LinearRun
from multitudes.nn.methods import COMBINED, FOLLOWED, LINEAR, NEIGHBOURS, PINNERSAGE
from multitudes.pinnersage.clustering import PinnerSageConfig
from multitudes.pinnersage.run import PinnerSageRun, PinnerSageRunConfig, item_embeddings, write_run
from multitudes.run_record import data_digest, needs_making, new_record, read_record

if TYPE_CHECKING:
    from multitudes.training.trained_run import TrainedRun

Run: TypeAlias = "TrainedRun | PinnerSageRun | LinearRun | NeighboursRun | FollowedRun"
_OPEN: Final[Mapping[str, Callable[..., "Run"]]] = {
    PINNERSAGE: PinnerSageRun.open,
    LINEAR: LinearRun.open,
    NEIGHBOURS: NeighboursRun.open,
    FOLLOWED: FollowedRun.open,
}


def open_run(path: str | Path, prepared: str | Path | None = None) -> Run:
    """Open a finished run of any method, by the path of its folder.

    Return a ``TrainedRun``, or by the method another of ``Run``, or a ``CombinedRun``.
    ``prepared`` is where its prepared data is now, if it was moved; it must be the same data.

    Raises:
        ArtefactError: the folder is no run, the run is unfinished or damaged, or its data has changed since.
        MissingError: the run has trained weights, and torch is not installed.
    """
    method = read_record(Path(path))["config"].get("method")
    if method in _OPEN:
        return _OPEN[method](path, prepared)
    try:
        from multitudes.training.combined import CombinedRun  # noqa: PLC0415 (torch)
        from multitudes.training.trained_run import TrainedRun  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise missing_extra(error.name or "torch", "train") from None
    return CombinedRun.open(path, prepared) if method == COMBINED else TrainedRun.open(path, prepared)


def make_pinnersage_run(
    prepared: PreparedData,
    out: str | Path,
    config: PinnerSageConfig | None = None,
    *,
    seed: int = 0,
    resume: bool = False,
    overwrite: bool = False,
) -> PinnerSageRun:
    """Make and return a run of PinnerSage over item vectors that already exist; nothing is trained.

    Args:
        prepared: the prepared data.
        out: the run folder; it appears complete or not at all.
        config: the settings. ``config.vectors`` names the run whose item vectors are clustered; without it they are
            the column ``embedding`` of the items.
        seed: seed of the random partition (the control); the method itself draws nothing.
        resume: open ``out`` if it already is this run.
        overwrite: replace ``out`` if it is a run.

    Raises:
        UsageError: ``out`` exists, or the run ``config.vectors`` was made on other data.
        DataError: the items have no embedding, or only zeros.
        ArtefactError: ``out`` should be replaced and is not a run, or ``config.vectors`` is not a finished run.
    """
    folder, settings = Path(out), config or PinnerSageConfig()
    record = new_record(prepared, PinnerSageRunConfig(seed=seed, model=settings).model_dump(mode="json"))
    if needs_making(folder, record, resume=resume, overwrite=overwrite):
        source = settings.vectors
        vectors_ID = item_embeddings(prepared) if source is None else _item_vectors_of(Path(source), prepared)
        write_run(folder, record, vectors_ID)
    return PinnerSageRun.open(folder, prepared.path)


def _item_vectors_of(folder: Path, prepared: PreparedData) -> NDArray[np.float32]:
    if read_record(folder)["prepared_digest"] != data_digest(prepared):
        raise UsageError(
            f"[pinnersage] vectors = '{folder}': a run on other data than {prepared.path}; name a run on this data"
        )
    return open_run(folder, prepared.path).item_vectors()
