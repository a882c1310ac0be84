"""A real PostgreSQL server of our own: its folder, its free port, its processes; nobody else's is ever touched."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from tests.ports import free_port

PASSWORD = "sesame"
WHY_NOT = "PostgreSQL with pgvector is not installed (Debian: postgresql-17-pgvector)"
_VERSIONS = sorted(Path("/usr/share/postgresql").glob("*/extension/vector.control"))
BIN = Path("/usr/lib/postgresql", _VERSIONS[-1].parts[4], "bin") if _VERSIONS else None
_START_S = 60.0


class Server:
    """One server with an empty database; ``start`` again after ``stop`` finds the same data on the same port."""

    def __init__(self) -> None:
        self.port = free_port()
        self._folder = Path(tempfile.mkdtemp(prefix="multitudes-postgres-"))
        self._user = "postgres" if os.getuid() == 0 else pwd.getpwuid(os.getuid()).pw_name  # it does not run as root
        self.process: subprocess.Popen[bytes] | None = None
        password = self._folder / "password"
        password.write_text(PASSWORD, encoding="utf-8")
        if os.getuid() == 0:
            for path in (self._folder, password):
                shutil.chown(path, self._user)
        self._run("initdb", "-D", self._folder / "data", "-A", "scram-sha-256", f"--pwfile={password}", "--no-sync")

    def variables(self) -> dict[str, str]:
        """Return the environment of its clients."""
        names = {"PGHOST": "127.0.0.1", "PGPORT": str(self.port), "PGDATABASE": "postgres"}
        return names | {"PGUSER": self._user, "PGPASSWORD": PASSWORD}

    def start(self) -> "Server":
        settings = {"port": self.port, "listen_addresses": "127.0.0.1", "unix_socket_directories": "", "fsync": "off"}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        assert BIN is not None
        call = [str(BIN / "postgres"), "-D", str(self._folder / "data"), *options]
        with (self._folder / "log").open("ab") as log:
            user = self._user if os.getuid() == 0 else None
            self.process = subprocess.Popen(call, user=user, cwd=self._folder, stdout=log, stderr=log)
        end = time.monotonic() + _START_S
        while subprocess.run(
            [BIN / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)], check=False
        ).returncode:
            assert self.process.poll() is None, (self._folder / "log").read_text()
            assert time.monotonic() < end, "the server does not listen"
            time.sleep(0.05)
        return self

    def stop(self) -> None:
        """End it and its connections, by its own process."""
        assert self.process is not None
        self.process.send_signal(signal.SIGINT)
        self.process.wait()

    def close(self) -> None:
        """End it for good."""
        if self.process is not None and self.process.poll() is None:
            self.stop()
        shutil.rmtree(self._folder)

    def _run(self, program: str, *arguments: object) -> None:
        assert BIN is not None
        call = [str(BIN / program), *map(str, arguments)]
        user = self._user if os.getuid() == 0 else None
        subprocess.run(call, user=user, cwd=self._folder, check=True, stdout=subprocess.DEVNULL)
