"""The head of a request is bounded: the server itself takes one of any size, before anybody is asked for a key."""

from typing import Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_BYTES: Final = 65_536


class BoundedHeads(HttpToolsProtocol):
    """The server's protocol; a head, or what trails a body in pieces, of more than ``HEAD_BYTES`` ends the connection.

    What arrived with one read is parsed before it is counted, so a head may be larger by that.
    """

    _unfinished = 0  # bytes since the last piece of a body, or end of a request

    def data_received(self, data: bytes) -> None:
        """Take in what arrived."""
        self._unfinished += len(data)
        super().data_received(data)
        if self._unfinished > HEAD_BYTES and not self.transport.is_closing():
            self.send_400_response(f"The head of the request is larger than {HEAD_BYTES:,} bytes; send less.")

    def on_body(self, body: bytes) -> None:
        """Go on: a piece of a body is here."""
        self._unfinished = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Go on: a request is complete."""
        self._unfinished = 0
        super().on_message_complete()
