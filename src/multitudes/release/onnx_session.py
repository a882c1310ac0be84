"""The towers of a release as ONNX Runtime sessions."""

from pathlib import Path
from typing import Any, TypeAlias

from multitudes.errors import ArtefactError

Session: TypeAlias = Any  # onnxruntime has no types
_SLOWER_FUSED = "SkipLayerNormFusion"  # takes four times what its parts take: .39 ms in place of .32 for a whole tower


def open_tower(file: Path) -> Session:
    """Open a tower on one thread of the CPU.

    Raises:
        ArtefactError: the file is no model that this ONNX Runtime can run.
    """
    import onnxruntime  # noqa: PLC0415 (a tenth of a second that listing releases need not pay)

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    try:
        return onnxruntime.InferenceSession(
            str(file), options, providers=["CPUExecutionProvider"], disabled_optimizers=[_SLOWER_FUSED]
        )
    except Exception as error:  # its exceptions have no common base of their own
        reason = str(error).splitlines()[0]
        raise ArtefactError(f"{file}: ONNX Runtime cannot load it ({reason}); publish the run again") from error
