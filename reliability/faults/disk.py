"""A disk that is slow, full, gone or wrong: a file system (FUSE) before a folder, which a file tells what to be.

``python -m reliability.faults.disk FOLDER MOUNT FILE``; each operation that is harmed adds a byte to FILE.felt.
"""

# ruff: noqa: ARG005, PTH101, PTH102, PTH104, PTH106, PTH108, PTH123, PTH208 (a file system answers in the terms of ``os``)
import errno
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

SLOW_S = 0.1  # of each operation that reaches a disk
_GROW = ("create", "mkdir", "write", "truncate", "link")
_REACH = ("open", "create", "read", "write", "fsync", "rename", "unlink")
_STAT = ("st_mode", "st_nlink", "st_size", "st_uid", "st_gid", "st_ino", "st_blocks")
_FREE = ("f_bavail", "f_bfree", "f_blocks", "f_bsize", "f_files", "f_ffree", "f_frsize", "f_namemax")


@contextmanager
def mount_disk(folder: Path, mount: Path, told: Path) -> Iterator[None]:
    """Mount a folder at another place until the end of the block; ``told`` holds the name of the fault, or nothing."""
    folder.mkdir()
    mount.mkdir()
    told.write_text("")
    process = subprocess.Popen([sys.executable, "-m", __name__, *map(str, (folder, mount, told))])
    try:
        while not os.path.ismount(mount):
            if process.poll() is not None:
                raise RuntimeError("the disk is not mounted; its reason is above")
            time.sleep(0.05)
        yield
    finally:
        told.write_text("")
        subprocess.run(["umount", "--lazy", mount], check=False)
        process.kill()
        process.wait()


def _serve(folder: str, mount: str, told: str) -> None:
    import mfusepy as fuse  # noqa: PLC0415 (an extra)

    def with_fault(name: str, do: Callable[..., Any]) -> Callable[..., Any]:
        def call(_: object, *given: Any) -> Any:  # noqa: ANN401
            fault = Path(told).read_text(encoding="utf-8")
            is_hit = {"gone": True, "full": name in _GROW, "slow": name in _REACH, "wrong": name == "read"}
            if not is_hit.get(fault):
                return do(*given)
            with open(f"{told}.felt", "ab") as felt:
                felt.write(b".")
            if fault in {"gone", "full"}:
                raise fuse.FuseOSError(errno.EIO if fault == "gone" else errno.ENOSPC)
            time.sleep(SLOW_S if fault == "slow" else 0)
            found = do(*given)
            return bytes(byte ^ 0x10 for byte in found) if fault == "wrong" else found

        return call

    def stat(path: str, fh: int | None = None) -> dict[str, int]:
        found = os.lstat(folder + path) if fh is None else os.fstat(fh)
        times = {f"st_{one}time": getattr(found, f"st_{one}time_ns") for one in "amc"}
        return {name: getattr(found, name) for name in _STAT} | times

    does: dict[str, Callable[..., Any]] = {
        "getattr": stat,
        "statfs": lambda path: {name: getattr(os.statvfs(folder + path), name) for name in _FREE},
        "readdir": lambda path, fh: [".", "..", *os.listdir(folder + path)],
        "open": lambda path, flags: os.open(folder + path, flags),
        "create": lambda path, mode, *_: os.open(folder + path, os.O_RDWR | os.O_CREAT, mode),
        "read": lambda path, size, offset, fh: os.pread(fh, size, offset),
        "write": lambda path, content, offset, fh: os.pwrite(fh, content, offset),
        "truncate": lambda path, length, fh=None: os.truncate(folder + path if fh is None else fh, length),
        "fsync": lambda path, data_only, fh: os.fsync(fh),
        "release": lambda path, fh: os.close(fh),
        "rename": lambda old, new, *_: os.rename(folder + old, folder + new),
        "link": lambda new, old: os.link(folder + old, folder + new),
        "unlink": lambda path: os.unlink(folder + path),
        "mkdir": lambda path, mode: os.mkdir(folder + path, mode),
        "rmdir": lambda path: os.rmdir(folder + path),
        "chmod": lambda path, mode: os.chmod(folder + path, mode),
        "utimens": lambda path, times=None: os.utime(folder + path, ns=times),
    }
    operations = type("Disk", (fuse.Operations,), {"use_ns": True} | {n: with_fault(n, one) for n, one in does.items()})
    fuse.FUSE(operations(), mount, foreground=True)


if __name__ == "__main__":
    _serve(*sys.argv[1:])
