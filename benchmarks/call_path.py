"""Through how many files does one request go, and one step of training?

    python benchmarks/call_path.py RELEASES PREPARED [--checkout DIR]

Runs ``multitudes serve`` and ``multitudes train`` of a checkout under a profiler. Prints the library's files in the
order in which one request (the third, so nothing is opened for the first time) and one step of training with the batch
of the next enter them, and how often control moves from one file to another. Uses the command line alone, so it can
measure older commits too.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

# Runs in the process that is measured. A profile function notes the file of every call while `on` is set.
_PROBE: Final = """
import os, runpy, sys, threading, time, urllib.request, json
root = os.environ["CALL_PATH_ROOT"]
files, moves, on, last, depth, times = {}, [0], [False], [""], [0], {}
def note(frame, event, _):
    code = frame.f_code.co_filename
    if not code.startswith(root):
        return
    if STEP and code.endswith("/step.py") and event in ("call", "return"):
        name = frame.f_code.co_name
        if event == "call" and depth[0] == 0:
            times[name] = times.get(name, 0) + 1
            if times[name] == 4 and on[0] == name:  # one step, and the batch of the next
                report()
                os._exit(0)
            if times[name] == 3 and not on[0]:
                on[0] = name
        depth[0] += 1 if event == "call" else -1
    if on[0] and event == "call":
        name = code[len(root) + 1:]
        if "<" not in name:
            files.setdefault(name, len(files))
            moves[0] += name != last[0]
            last[0] = name
def ask(port):
    body = json.dumps({"user_id": int(os.environ["CALL_PATH_USER"]), "n": 20}).encode()
    for attempt in range(300):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5)
            break
        except OSError:
            time.sleep(0.1)
    for turn in range(3):
        on[0] = turn == 2
        request = urllib.request.Request(f"http://127.0.0.1:{port}/v1/recommend", body,
                                         {"content-type": "application/json", "x-deadline-ms": "20000"})
        urllib.request.urlopen(request, timeout=30).read()
        time.sleep(0.3)
    report()
    os._exit(0)
def report():
    with open(os.environ["CALL_PATH_OUT"], "w") as out:
        json.dump({"files": list(files), "moves": moves[0]}, out)
threading.setprofile(note)
if not STEP:
    threading.Thread(target=ask, args=(sys.argv[sys.argv.index("--port") + 1],), daemon=True).start()
sys.setprofile(note)
try:
    runpy.run_module("multitudes", run_name="__main__")
finally:
    sys.setprofile(None)
"""


def call_path(checkout: Path, python: Path, step: bool, *args: str, user: str = "1") -> dict[str, object]:
    """Return the files that one request or one step enters, in order, and the moves between them."""
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "path.json"
        env = {
            **os.environ,
            "PYTHONPATH": str(checkout / "src"),
            "CALL_PATH_ROOT": str(checkout / "src" / "multitudes"),
            "CALL_PATH_OUT": str(out),
            "CALL_PATH_USER": user,
        }
        probe = f"STEP = {step}\n{_PROBE}"
        subprocess.run([python, "-c", probe, *args], env=env, cwd=scratch, check=False, capture_output=True)
        found: dict[str, object] = json.loads(out.read_text())
        return found


def main() -> None:
    """Print both paths."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("releases", type=Path)
    parser.add_argument("prepared", type=Path)
    parser.add_argument("--user", default="1", help="a user of the release, with an integer id")
    parser.add_argument("--checkout", type=Path, default=Path(__file__).parents[1])
    parser.add_argument("--python", type=Path, default=Path(sys.executable))
    given = parser.parse_args()
    checkout, python = given.checkout.resolve(), given.python.absolute()
    with tempfile.TemporaryDirectory() as scratch:
        serve = ("serve", str(given.releases.resolve()), "--port", "18417", "--workers", "1")
        train = ("train", str(given.prepared.resolve()), "--method", "joint", "--out", f"{scratch}/run")
        for name, step, args in (("request", False, serve), ("training step", True, train)):
            found = call_path(checkout, python, step, *args, user=given.user)
            files = found["files"]
            assert isinstance(files, list)
            print(f"{name}: {len(files)} files, {found['moves']} moves")
            print("\n".join(f"    {file}" for file in files))


if __name__ == "__main__":
    main()
