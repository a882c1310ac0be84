"""A typed client of the service; it knows ids and errors, and nothing of how an answer is made.

``Client`` itself is ``multitudes.Client``: it alone needs httpx.
"""

from multitudes.client.calls import Ask as Ask
from multitudes.client.calls import Event as Event
