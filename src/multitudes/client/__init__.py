"""A typed client of the service. Of the library it needs ids, errors and the schema (``multitudes.api``) alone.

``Client`` is ``multitudes.Client``: it alone needs httpx.
"""

import warnings

from multitudes.api import Event, RecommendRequest
from multitudes.client.errors import AuthError, BusyError, CallError, NoAnswerError, NotFoundError

__all__ = ["AuthError", "BusyError", "CallError", "Event", "NoAnswerError", "NotFoundError", "RecommendRequest"]

_RENAMED = {"Ask": RecommendRequest, "KeyRefusedError": AuthError}


def __getattr__(name: str) -> object:
    """Return the object of an old name; the next version removes the old names."""
    if name not in _RENAMED:
        raise AttributeError(f"module 'multitudes.client' has no attribute '{name}'")
    message = f"multitudes.client.{name} is now multitudes.client.{_RENAMED[name].__name__}"
    warnings.warn(message, DeprecationWarning, stacklevel=2)
    return _RENAMED[name]
