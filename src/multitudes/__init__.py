"""multitudes: several vectors per user, one per interest, at the budget of a single vector.

``import multitudes`` is cheap and needs no torch: the public names below are loaded when first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from multitudes.data.prepared import Prepared as Prepared
    from multitudes.retrieve.retriever import Retriever as Retriever

# name -> the module that defines it
_PUBLIC = {
    "Prepared": "multitudes.data.prepared",
    "Retriever": "multitudes.retrieve.retriever",
}
__all__ = ["Prepared", "Retriever", "__version__"]


def __getattr__(name: str) -> object:
    """Load a public name on first use (PEP 562)."""
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'multitudes' has no attribute '{name}'")


def __dir__() -> list[str]:
    """List the public names for completion."""
    return sorted(__all__)
