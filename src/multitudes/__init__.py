"""Multi-embedding retrieval: several vectors per user, one per interest, at the budget of a single vector.

The verbs in the order of use: ``import_files``, ``prepare``, ``train`` (or ``make_pinnersage_run``, ``combine``),
``evaluate``, ``compare``, ``publish``; then ``Retriever.open(...).recommend(...)`` or ``recommend_all``. Each takes a
configuration: an ``ImportConfig``, ``PrepareConfig``, ``RunConfig``, ``EvaluateConfig``, ``IndexConfig``,
``RetrieveConfig`` or ``BatchConfig``.

``import multitudes`` is cheap: a name is loaded when it is first used. All names can be imported without any extra;
one that needs a package which is not installed raises a ``MissingError`` when it is used.

Public submodules, each for its own subject: ``multitudes.client`` (calls of the service), ``multitudes.api`` (requests
and answers of the service), ``multitudes.errors``, ``multitudes.state.protocol`` (records of the user state store)
and ``multitudes.data.planted`` (worlds of known tastes). Everything else may change in any version.
"""

import lazy_loader

from multitudes.errors import MissingError
from multitudes.extras import Unavailable

__version__ = "0.1.0"

_load, _, __all__ = lazy_loader.attach_stub(__name__, __file__)
__all__ += ["__version__"]


def __getattr__(name: str) -> object:
    """Load a public name on first use (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module 'multitudes' has no attribute '{name}'")
    try:
        return _load(name)
    except (ImportError, MissingError) as error:
        return Unavailable(name, error)


def __dir__() -> list[str]:
    """List the public names for completion."""
    return sorted(__all__)
