"""A real Milvus server of our own: its folder, its free ports, its process; nobody else's is ever touched.

The server of the package ``milvus`` listens on every address, so it asks for a password.
"""

import os
import signal
import socket
import subprocess
from pathlib import Path

from tests.ports import free_port

PASSWORD = "root:Milvus"  # what a fresh server has
_PORTS = ("root_coord", "proxy", "proxy_internal", "query_coord", "query_node", "index_coord", "index_node")
_MORE_PORTS = ("data_coord", "data_node")


class Server:
    """One server process; ``start`` again after ``stop`` or ``kill`` finds the same data on the same port."""

    def __init__(self, folder: Path) -> None:
        import milvus  # noqa: PLC0415 (only where the package is there)

        names = [f"{name}_port" for name in (*_PORTS, *_MORE_PORTS)]
        *ports, client, peer = [free_port() for _ in range(len(names) + 2)]
        self.folder = folder
        self._etcd = _etcd_config(folder, client, peer)
        settings = dict(zip(names, ports, strict=True)) | {"etcd_port": client}
        config = milvus.MilvusServerConfig(data_dir=str(folder), **settings)
        config.set("authorization_enabled", True)
        self.port = settings["proxy_port"]
        config.try_bind_port = _bound
        self._server = milvus.MilvusServer(config, wait_for_started=False)
        self._server.webservice_port = free_port()
        self._watch: subprocess.Popen[bytes] | None = None

    @property
    def uri(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        return int(self._server.server_proc.pid)

    def start(self) -> "Server":
        os.environ["ETCD_CONFIG_PATH"] = str(self._etcd)  # the only way to move its etcd off port 2379
        self._server.start()
        self._server.wait_started()
        # Were the tests themselves killed, nobody else would end it.
        watch = f"while kill -0 {os.getpid()}; do sleep 1; done; kill {self.pid}; kill -CONT {self.pid}"
        self._watch = subprocess.Popen(["sh", "-c", watch], stderr=subprocess.DEVNULL)
        return self

    def stop(self) -> None:
        """End it politely, by its own process."""
        if self._server.server_proc is not None:
            os.kill(self.pid, signal.SIGCONT)
        self._end()

    def kill(self) -> None:
        """End it as a crash does."""
        os.kill(self.pid, signal.SIGKILL)
        self._end()

    def _end(self) -> None:
        if self._watch is not None:
            self._watch.kill()
            self._watch.wait()
        self._watch = None
        self._server.stop()

    def pause(self) -> None:
        """Let it hang: connections stay open, nothing is answered."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)


def _bound(port: int) -> socket.socket | None:
    """Take a port as the server itself does: the package refuses one that a last run has just left."""
    taken = socket.socket()
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        taken.bind(("127.0.0.1", port))
    except OSError:
        taken.close()
        return None
    return taken


def _etcd_config(folder: Path, client: int, peer: int) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    at, peers = f"http://127.0.0.1:{client}", f"http://127.0.0.1:{peer}"
    lines = {
        "name": "default",
        "data-dir": folder / "data" / "etcd.data",
        "log-level": "error",
        "log-outputs": [str(folder / "etcd.log")],
        "listen-client-urls": at,
        "advertise-client-urls": at,
        "listen-peer-urls": peers,
        "initial-advertise-peer-urls": peers,
        "initial-cluster": f"default={peers}",
    }
    file = folder / "etcd.yaml"
    file.write_text("".join(f"{key}: {value}\n" for key, value in lines.items()), encoding="utf-8")
    return file
