"""D16: a key is revoked on the host; in the container it opens nothing any more within two seconds.

The container is a mount namespace with a bind mount, as a container engine makes it. The control is the recipe before,
which mounts the file of keys alone: on the host the file is replaced, in the container it stays what it was.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import run as run_command

from multitudes.atomic import write_text
from multitudes.progress import Progress
from multitudes.service.api_keys import make_key
from reliability.claims import SkippedError, TrialResult, at_most
from reliability.requests_in_turn import ask
from reliability.server import Server, serving
from reliability.world import World, publish_world

_SECONDS = 2.0
_MOUNT = 'mount --bind "$1" "$2" && shift 2 && exec "$@"'


def trial(scale: float, folder: Path, progress: Progress) -> TrialResult:
    """Revoke keys in both recipes; it is the same at every scale."""
    del scale
    if run_command(["unshare", "-Urm", "true"], capture_output=True, check=False).returncode:
        raise SkippedError("this system lets nobody make a mount namespace")
    publish_world(folder / "releases", world=World(items=200, users=20))
    progress(0, 2, "the folder is mounted")
    with_folder = _attack(folder, "folder")
    progress(1, 2, "the file is mounted")
    with_file = _attack(folder, "file")
    said = "the recipe before mounts the file"
    return TrialResult(
        [at_most(0, f"revoked keys that still open after {_SECONDS:g} s", with_folder, said, with_file)],
        {"mounted_folder": with_folder, "mounted_file": with_file},
    )


def _attack(folder: Path, mounted: str) -> int:
    host, inside = folder / f"{mounted}-host", folder / f"{mounted}-inside"
    host.mkdir()
    inside.mkdir()
    keys = {name: make_key(host / "keys", name, ("read",)) for name in ("shop", "other")}
    with _container(folder, mounted, host, inside) as server:
        for key in keys.values():
            assert ask(server, "GET", "/v1/releases", authorization=f"Bearer {key}").status == 200
        lines = (host / "keys").read_text(encoding="utf-8").splitlines(keepends=True)
        write_text(host / "keys", "".join(line for line in lines if not line.startswith("shop ")))
        time.sleep(_SECONDS)
        assert ask(server, "GET", "/v1/releases", authorization=f"Bearer {keys['other']}").status == 200
        return int(ask(server, "GET", "/v1/releases", authorization=f"Bearer {keys['shop']}").status == 200)


@contextmanager
def _container(folder: Path, mounted: str, host: Path, inside: Path) -> Iterator[Server]:
    source, target = (host, inside) if mounted == "folder" else (host / "keys", inside / "keys")
    if mounted == "file":
        target.touch()
    launcher = ("unshare", "-Urm", "sh", "-c", _MOUNT, "sh", str(source), str(target))
    settings = {"keys": {"file": str(inside / "keys")}}
    with serving(folder / "releases", folder / mounted, settings, launcher=launcher) as server:
        yield server
