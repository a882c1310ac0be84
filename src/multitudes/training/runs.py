"""Any run by its folder: trained weights, which need torch, or item vectors as they are, which need none."""

from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from multitudes.errors import missing_extra
from multitudes.pinnersage.run import METHOD, PinnerSageRun
from multitudes.run_record import read_record

if TYPE_CHECKING:
    from multitudes.training.trained_run import TrainedRun

Run: TypeAlias = "TrainedRun | PinnerSageRun"


def open_run(path: str | Path, prepared: str | Path | None = None) -> Run:
    """Open a finished run folder of any method; ``prepared`` overrides where its data lies.

    Raises:
        ArtefactError: no run here, unfinished, damaged, or its data changed since.
        MissingError: the run is of a trained method, and torch is not installed.
    """
    if read_record(Path(path))["config"].get("method") == METHOD:
        return PinnerSageRun.open(path, prepared)
    try:
        from multitudes.training.trained_run import TrainedRun  # noqa: PLC0415 (torch)
    except ModuleNotFoundError as error:
        raise missing_extra(error.name or "torch", "train") from None
    return TrainedRun.open(path, prepared)
