"""Packages that may be missing: which extra installs which modules, and the error for one that is missing."""

from importlib.util import find_spec
from typing import NoReturn

from multitudes.errors import MissingError, missing_extra

# The modules that each extra of pyproject.toml brings; cluster and database clients come one by one.
EXTRAS: dict[str, tuple[str, ...]] = {
    "data": ("charset_normalizer", "duckdb", "pyarrow", "scipy", "threadpoolctl"),
    "train": ("torch", "safetensors", "onnx", "onnxscript"),
    "report": ("altair", "vl_convert"),
    "study": ("optuna",),
    "serve": ("fastapi", "starlette", "uvicorn", "httptools", "orjson", "structlog", "prometheus_client", "pyarrow"),
    "client": ("httpx",),
    "sign": ("cryptography",),
}


def require_extra(*extras: str) -> None:
    """Check that all modules of some extras, as in ``pip install 'multitudes[EXTRA]'``, are installed.

    Raises:
        MissingError: a module is missing; the message holds the pip command.
    """
    for extra in extras:
        for module in EXTRAS[extra]:
            if find_spec(module) is None:
                raise missing_extra(module, extra)


def missing_extras() -> list[str]:
    """Return the extras with at least one module that is not installed."""
    return [extra for extra, modules in EXTRAS.items() if not all(map(find_spec, modules))]


class Unavailable:
    """Stands for a public name whose extra is not installed; using it raises a ``MissingError``.

    So ``from multitudes import *``, ``help(multitudes)`` and ``hasattr(multitudes, name)`` work in a base install.
    """

    def __init__(self, name: str, error: ImportError | MissingError) -> None:
        self._error = error if isinstance(error, MissingError) else missing_package(error)
        self.__doc__ = f"Not available: {self._error}"
        self._name = name

    def __repr__(self) -> str:
        return f"<multitudes.{self._name}: {self._error}>"

    def __call__(self, *arguments: object, **named: object) -> NoReturn:
        """Raise the error that names the extra."""
        del arguments, named
        raise self._error

    def __getattr__(self, name: str) -> NoReturn:
        """Raise the error that names the extra; ``AttributeError`` for a private name (inspection)."""
        if name.startswith("_"):
            raise AttributeError(name)
        raise self._error


def missing_package(error: ImportError) -> MissingError:
    """Return the error that says how to install a module; raise ``error`` again if its cause is another one."""
    module = (error.name or "").partition(".")[0]
    for extra, modules in EXTRAS.items():
        if module in modules:
            return missing_extra(module, extra)
    raise error
