"""Open a run of any method, and make a run of PinnerSage.

A trained run needs torch. Runs of PinnerSage and of a linear model need none, so torch is imported only where a trained
run is opened.
"""

from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from multitudes.data.prepared import PreparedData
from multitudes.errors import UsageError, missing_extra
from multitudes.linear.run import METHOD as LINEAR
from multitudes.linear.run import LinearRun
from multitudes.pinnersage.clustering import PinnerSageConfig
from multitudes.pinnersage.run import METHOD, PinnerSageRun, item_embeddings, make_run
from multitudes.run_record import data_digest, read_record

if TYPE_CHECKING:
    from multitudes.training.trained_run import TrainedRun

Run: TypeAlias = "TrainedRun | PinnerSageRun | LinearRun"


def open_run(path: str | Path, prepared: str | Path | None = None) -> Run:
    """Open a finished run of any method.

    Args:
        path: the run folder.
        prepared: where its prepared data is now, if it was moved; it must be the same data.

    Returns:
        A ``TrainedRun``, or a ``PinnerSageRun`` or ``LinearRun`` if that is the method.

    Raises:
        ArtefactError: the folder is no run, the run is unfinished or damaged, or its data has changed since.
        MissingError: the run has trained weights, and torch is not installed.
    """
    method = read_record(Path(path))["config"].get("method")
    if method == METHOD:
        return PinnerSageRun.open(path, prepared)
    if method == LINEAR:
        return LinearRun.open(path, prepared)
    try:
        from multitudes.training.trained_run import TrainedRun  # noqa: PLC0415 (torch)
    except ModuleNotFoundError as error:
        raise missing_extra(error.name or "torch", "train") from None
    return TrainedRun.open(path, prepared)


def make_pinnersage_run(
    prepared: PreparedData,
    out: str | Path,
    config: PinnerSageConfig | None = None,
    *,
    seed: int = 0,
    resume: bool = False,
    overwrite: bool = False,
) -> PinnerSageRun:
    """Make a run of PinnerSage over item vectors that already exist; nothing is trained.

    Args:
        prepared: the prepared data.
        out: the run folder; it appears complete or not at all.
        config: the settings. ``config.vectors`` names the run whose item vectors are clustered; without it they are
            the column ``embedding`` of the items.
        seed: seed of the random partition (the control); the method itself draws nothing.
        resume: open ``out`` if it already is this run.
        overwrite: replace ``out`` if it is a run.

    Returns:
        The finished run.

    Raises:
        UsageError: ``out`` exists, or the run ``config.vectors`` was made on other data.
        DataError: the items have no embedding, or only zeros.
        ArtefactError: ``out`` should be replaced and is not a run, or ``config.vectors`` is not a finished run.
    """
    settings = config or PinnerSageConfig()

    def load_vectors() -> NDArray[np.float32]:
        if settings.vectors is None:
            return item_embeddings(prepared)
        return _item_vectors_of(Path(settings.vectors), prepared)

    return make_run(prepared, Path(out), settings, load_vectors, seed=seed, resume=resume, overwrite=overwrite)


def _item_vectors_of(folder: Path, prepared: PreparedData) -> NDArray[np.float32]:
    if read_record(folder)["prepared_digest"] != data_digest(prepared):
        raise UsageError(
            f"[pinnersage] vectors = '{folder}': a run on other data than {prepared.path}; name a run on this data"
        )
    return open_run(folder, prepared.path).item_vectors()
