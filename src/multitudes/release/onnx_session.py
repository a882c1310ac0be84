"""The towers of a release in ONNX Runtime."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from numpy.typing import NDArray

from multitudes.errors import ArtefactError

Session: TypeAlias = Any  # onnxruntime has no types
# It makes towers slower: the fused layer takes four times as long as the layers, and a tower 0.39 ms instead of 0.32.
DISABLED_OPTIMIZER = "SkipLayerNormFusion"
# A tensor may name another file, which no checksum of the release covers. No file is in this folder, and ONNX Runtime
# rejects a path that leads out of it. Towers are published without such tensors.
_WEIGHTS_FOLDER = ("session.model_external_initializers_file_folder_path", "/dev/null")


def open_tower(file: Path) -> Session:
    """Open the ONNX file of a tower for one thread of the CPU.

    Raises:
        ArtefactError: the file cannot be read or does not hold all of its weights, or this ONNX Runtime cannot load it.
    """
    import onnxruntime  # noqa: PLC0415 (it takes 0.1 s, which listing releases need not spend)

    options = onnxruntime.SessionOptions()
    # Errors only: what the runtime cannot optimise in a tower is nothing that a user can mend.
    options.log_severity_level = 3
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.add_session_config_entry(*_WEIGHTS_FOLDER)
    try:
        return onnxruntime.InferenceSession(
            file.read_bytes(), options, providers=["CPUExecutionProvider"], disabled_optimizers=[DISABLED_OPTIMIZER]
        )
    except Exception as error:  # the exceptions of ONNX Runtime have no common base
        reason = str(error).splitlines()[0]
        raise ArtefactError(f"{file}: ONNX Runtime cannot load it ({reason}); publish the run again") from error


def run_tower(
    session: Session, inputs: Mapping[str, NDArray[Any]], outputs: Sequence[str], file: str | Path
) -> list[Any]:
    """Run a tower, and return the named ``outputs`` in order; ``file`` is that of the tower, for the error.

    Of the ``inputs``, arrays by name, those that the tower has no input for are ignored, for example features.

    Raises:
        ArtefactError: the tower does not have these inputs or outputs.
    """
    names = [entry.name for entry in session.get_inputs()]
    try:
        arrays: list[Any] = session.run(outputs, {name: inputs[name] for name in names})
    except Exception as error:  # the exceptions of ONNX Runtime have no common base
        reason = str(error).splitlines()[0]
        raise ArtefactError(f"{file}: does not accept this input ({reason}); publish again") from error
    return arrays
