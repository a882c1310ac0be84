"""multitudes: several vectors per user, one per interest, at the budget of a single vector.

``import multitudes`` is cheap and needs no torch: the public names below are loaded when first used. Some end in
``_run``, since ``multitudes.train``, ``multitudes.evaluate`` and ``multitudes.publish`` are the rooms they live in.
"""

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from multitudes.batches.pinnersage import PinnerSageConfig as PinnerSageConfig
    from multitudes.client.client import Client as Client
    from multitudes.data.prepare import PrepareConfig as PrepareConfig
    from multitudes.data.prepare import prepare as prepare
    from multitudes.data.prepared import Prepared as Prepared
    from multitudes.data.sample import sample_path as sample_path
    from multitudes.evaluate.evaluate import evaluate as evaluate_run
    from multitudes.publish.publish import publish as publish_run
    from multitudes.retrieve.plan import RetrieveConfig as RetrieveConfig
    from multitudes.retrieve.retriever import Retriever as Retriever
    from multitudes.train.config import RunConfig as RunConfig
    from multitudes.train.loop import train as train_run
    from multitudes.train.pinnersage import make as pinnersage_run
    from multitudes.train.run import TrainedRun as TrainedRun
    from multitudes.train.runs import open_run as open_run

# public name -> where it is defined
_PUBLIC = {
    "Client": ("multitudes.client.client", "Client"),
    "PinnerSageConfig": ("multitudes.batches.pinnersage", "PinnerSageConfig"),
    "PrepareConfig": ("multitudes.data.prepare", "PrepareConfig"),
    "Prepared": ("multitudes.data.prepared", "Prepared"),
    "RetrieveConfig": ("multitudes.retrieve.plan", "RetrieveConfig"),
    "Retriever": ("multitudes.retrieve.retriever", "Retriever"),
    "RunConfig": ("multitudes.train.config", "RunConfig"),
    "TrainedRun": ("multitudes.train.run", "TrainedRun"),
    "evaluate_run": ("multitudes.evaluate.evaluate", "evaluate"),
    "open_run": ("multitudes.train.runs", "open_run"),
    "pinnersage_run": ("multitudes.train.pinnersage", "make"),
    "prepare": ("multitudes.data.prepare", "prepare"),
    "publish_run": ("multitudes.publish.publish", "publish"),
    "sample_path": ("multitudes.data.sample", "sample_path"),
    "train_run": ("multitudes.train.loop", "train"),
}
__all__ = [
    "Client",
    "PinnerSageConfig",
    "PrepareConfig",
    "Prepared",
    "RetrieveConfig",
    "Retriever",
    "RunConfig",
    "TrainedRun",
    "__version__",
    "evaluate_run",
    "open_run",
    "pinnersage_run",
    "prepare",
    "publish_run",
    "sample_path",
    "train_run",
]


def __getattr__(name: str) -> object:
    """Load a public name on first use (PEP 562)."""
    if name in _PUBLIC:
        module, attribute = _PUBLIC[name]
        return getattr(import_module(module), attribute)
    raise AttributeError(f"module 'multitudes' has no attribute '{name}'")


def __dir__() -> list[str]:
    """List the public names for completion."""
    return sorted(__all__)
