"""A typed client of the service. Of the library it needs ids, errors and the schema (``multitudes.api``) alone.

``Client`` is ``multitudes.Client``: it alone needs httpx.
"""

from multitudes.api import Event as Event
from multitudes.api import RecommendRequest as RecommendRequest
from multitudes.client.errors import AuthError as AuthError
from multitudes.client.errors import BusyError as BusyError
from multitudes.client.errors import CallError as CallError
from multitudes.client.errors import NoAnswerError as NoAnswerError
from multitudes.client.errors import NotFoundError as NotFoundError
