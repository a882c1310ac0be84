"""Optional packages: the command says which is missing and how to install it."""

from importlib.util import find_spec

from multitudes.errors import missing_extra


def require_torch() -> None:
    """Check that the [train] extra is installed.

    Raises:
        MissingError: a package of it is missing; the message holds the pip command.
    """
    _require("train", "torch", "safetensors", "onnx", "onnxscript")


def require_report() -> None:
    """Check that the [report] extra is installed.

    Raises:
        MissingError: a package of it is missing; the message holds the pip command.
    """
    _require("report", "altair", "vl_convert")


def _require(extra: str, *modules: str) -> None:
    for module in modules:
        if find_spec(module) is None:
            raise missing_extra(module, extra)
