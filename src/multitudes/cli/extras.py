"""Optional packages: the command says which is missing and how to install it."""

from importlib.util import find_spec
from pathlib import Path

from multitudes.errors import missing_extra


def require_torch() -> None:
    """Check that the [train] extra is installed.

    Raises:
        MissingError: a package of it is missing; the message holds the pip command.
    """
    _require("train", "torch", "safetensors", "onnx", "onnxscript")


def require_torch_for(run: Path) -> None:
    """Check that the [train] extra is installed, unless ``run`` is one that was made without it.

    Raises:
        MissingError: a package of it is missing; the message holds the pip command.
    """
    from multitudes.errors import ArtefactError
    from multitudes.pinnersage.run import METHOD
    from multitudes.run_record import read_record

    try:
        trained = read_record(run)["config"].get("method") != METHOD
    except ArtefactError:
        trained = True  # what is wrong with the run is said by who opens it
    if trained:
        require_torch()


def require_report() -> None:
    """Check that the [report] extra is installed.

    Raises:
        MissingError: a package of it is missing; the message holds the pip command.
    """
    _require("report", "altair", "vl_convert")


def require_study() -> None:
    """Check that the extras [train] and [study] are installed.

    Raises:
        MissingError: a package of them is missing; the message holds the pip command.
    """
    require_torch()
    _require("study", "optuna")


def require_serve() -> None:
    """Check that the [serve] extra is installed.

    Raises:
        MissingError: a package of it is missing; the message holds the pip command.
    """
    _require("serve", "fastapi", "uvicorn", "httptools", "orjson", "structlog", "prometheus_client")


def require_client() -> None:
    """Check that the [client] extra is installed.

    Raises:
        MissingError: a package of it is missing; the message holds the pip command.
    """
    _require("client", "httpx")


def _require(extra: str, *modules: str) -> None:
    for module in modules:
        if find_spec(module) is None:
            raise missing_extra(module, extra)
