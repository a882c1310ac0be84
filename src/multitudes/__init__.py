"""multitudes: several vectors per user, one per interest, at the budget of a single vector.

``import multitudes`` is cheap and needs no torch: the public names below are loaded when first used. Some end in
``_run``, since ``multitudes.training``, ``multitudes.evaluation`` and ``multitudes.publishing`` are the rooms they live in.
"""

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from multitudes.client.client import Client as Client
    from multitudes.data.prepare import PrepareConfig as PrepareConfig
    from multitudes.data.prepare import prepare as prepare
    from multitudes.data.prepared import PreparedData as PreparedData
    from multitudes.data.sample import sample_path as sample_path
    from multitudes.evaluation.evaluate import evaluate as evaluate_run
    from multitudes.pinnersage.clustering import PinnerSageConfig as PinnerSageConfig
    from multitudes.publishing.publish import publish as publish_run
    from multitudes.retrieval.config import RetrieveConfig as RetrieveConfig
    from multitudes.retrieval.retriever import Retriever as Retriever
    from multitudes.training.config import RunConfig as RunConfig
    from multitudes.training.loop import train as train_run
    from multitudes.training.runs import make_pinnersage_run as pinnersage_run
    from multitudes.training.runs import open_run as open_run
    from multitudes.training.trained_run import TrainedRun as TrainedRun

# public name -> where it is defined
_PUBLIC = {
    "Client": ("multitudes.client.client", "Client"),
    "PinnerSageConfig": ("multitudes.pinnersage.clustering", "PinnerSageConfig"),
    "PrepareConfig": ("multitudes.data.prepare", "PrepareConfig"),
    "Prepared": ("multitudes.data.prepared", "Prepared"),
    "RetrieveConfig": ("multitudes.retrieval.config", "RetrieveConfig"),
    "Retriever": ("multitudes.retrieval.retriever", "Retriever"),
    "RunConfig": ("multitudes.training.config", "RunConfig"),
    "TrainedRun": ("multitudes.training.trained_run", "TrainedRun"),
    "evaluate_run": ("multitudes.evaluation.evaluate", "evaluate"),
    "open_run": ("multitudes.training.runs", "open_run"),
    "pinnersage_run": ("multitudes.training.runs", "make_pinnersage_run"),
    "prepare": ("multitudes.data.prepare", "prepare"),
    "publish_run": ("multitudes.publishing.publish", "publish"),
    "sample_path": ("multitudes.data.sample", "sample_path"),
    "train_run": ("multitudes.training.loop", "train"),
}
__all__ = [
    "Client",
    "PinnerSageConfig",
    "PrepareConfig",
    "PreparedData",
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
