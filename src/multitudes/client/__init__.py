"""A typed client of the service; it knows ids and errors, and nothing of how an answer is made.

``Client`` itself is ``multitudes.Client``: it alone needs httpx.
"""

from multitudes.client.calls import Ask as Ask
from multitudes.client.calls import Event as Event
from multitudes.client.failures import BusyError as BusyError
from multitudes.client.failures import CallError as CallError
from multitudes.client.failures import KeyRefusedError as KeyRefusedError
from multitudes.client.failures import NoAnswerError as NoAnswerError
from multitudes.client.failures import NotFoundError as NotFoundError
