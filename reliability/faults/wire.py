"""A proxy before a server of ours: what comes back is late, turned, or nothing at all."""

import socket
import time
from contextlib import suppress
from threading import Thread

SLOW_S = 0.5  # of each piece that a server sends back


class Wire:
    """A port that leads to another one; ``felt`` counts the pieces and connections that were harmed."""

    def __init__(self, to_port: int) -> None:
        self._fault, self.felt, self._to = "", 0, to_port
        self._open = set[socket.socket]()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listening.getsockname()[1])
        Thread(target=self._accept, daemon=True).start()

    def be(self, fault: str) -> None:
        """Be slow, wrong or gone from now on; or, with an empty name, well."""
        self._fault = fault
        if fault == "gone":
            self.felt += len(self._open)
            for one in list(self._open):
                self._end(one)

    def _accept(self) -> None:
        while True:
            near, _ = self._listening.accept()
            try:
                if self._fault == "gone":
                    raise ConnectionError
                far = socket.create_connection(("127.0.0.1", self._to))
            except OSError:
                self.felt += 1
                near.close()
                continue
            self._open |= {near, far}
            for source, to, fault_counts in ((near, far, False), (far, near, True)):
                Thread(target=self._pass_on, args=(source, to, fault_counts), daemon=True).start()

    def _pass_on(self, source: socket.socket, to: socket.socket, comes_back: bool) -> None:
        with suppress(OSError):
            while piece := source.recv(1 << 16):
                fault = self._fault if comes_back else ""
                self.felt += bool(fault)
                time.sleep(SLOW_S if fault == "slow" else 0)
                to.sendall(bytes(byte ^ 0x10 for byte in piece) if fault == "wrong" else piece)
        self._end(source)
        self._end(to)

    def _end(self, one: socket.socket) -> None:
        self._open.discard(one)
        with suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)
        one.close()
