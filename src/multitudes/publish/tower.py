"""What a run leaves in a release for making user vectors: the file of its tower, or the settings of a clustering."""

from pathlib import Path
from typing import Any

from multitudes.release.release import USER_TOWER
from multitudes.train.pinnersage import PinnerSageRun
from multitudes.train.runs import Run


def write_tower(run: Run, stage: Path, conditions: int) -> None:
    """Write the user tower of a trained run; ``conditions`` is the number of topics drawn per request."""
    if isinstance(run, PinnerSageRun):
        return  # clustering has settings, which the manifest holds, and no weights
    from multitudes.publish.onnx import export_user_tower  # noqa: PLC0415 (torch)

    export_user_tower(run, stage / USER_TOWER, conditions)


def pinnersage_settings(run: Run) -> dict[str, Any] | None:
    """Return what the manifest says of the clustering of a run; None where a tower makes the vectors."""
    if not isinstance(run, PinnerSageRun):
        return None
    # Where the vectors came from is the run's affair: a release holds them.
    return {"config": run.config.model.model_dump(mode="json", exclude={"vectors"}), "typical": run.typical}
