"""A typed client of the service. Of the library it needs ids, errors and the schema (``multitudes.api``) alone.

``Client`` is ``multitudes.Client``: it alone needs httpx.
"""

from multitudes.api import Event, RecommendRequest
from multitudes.client.errors import AuthError, BusyError, CallError, NoAnswerError, NotFoundError

__all__ = ["AuthError", "BusyError", "CallError", "Event", "NoAnswerError", "NotFoundError", "RecommendRequest"]
