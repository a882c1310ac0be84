"""D17: six processes make a key at the same time; all keys are there, and the file stays its owner's."""

import subprocess
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from reliability.codes import Code, without_effect

_KEYS = 6


def _attack(code: Code) -> dict[str, Any]:
    file = code.folder / "keys"

    def add(name: str) -> "subprocess.CompletedProcess[str]":
        words = ("keys", "add", file, "--name", name) if code.is_now else ("key", name, "--to", file)
        return code.command(*words, "--scope", "read")

    first = add("first")
    assert first.returncode == 0, first.stderr
    file.chmod(0o600)
    with ThreadPoolExecutor(_KEYS) as threads:
        list(threads.map(add, [f"k{number}" for number in range(_KEYS)]))
    kept = sum(line.startswith("k") for line in file.read_text(encoding="utf-8").splitlines())
    return {
        "lost": _KEYS - kept,
        "open": int(file.stat().st_mode & 0o077 > 0),
        "mode": oct(file.stat().st_mode & 0o777),
    }


trial = without_effect(
    _attack,
    lost=f"of {_KEYS} keys made at once, lost",
    open="files of mode 0600 that others may read afterwards",
)
