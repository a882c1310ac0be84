"""A typed client of the service; it knows ids and errors, and nothing of how an answer is made.

``Client`` itself is ``multitudes.Client``: it alone needs httpx.
"""

from multitudes.client.calls import Event as Event
from multitudes.client.calls import Request as Request
from multitudes.client.errors import AuthError as AuthError
from multitudes.client.errors import BusyError as BusyError
from multitudes.client.errors import CallError as CallError
from multitudes.client.errors import NoAnswerError as NoAnswerError
from multitudes.client.errors import NotFoundError as NotFoundError
