"""The README's python and bash blocks run as they stand, one after the other, and print what it shows."""

import os
import re
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from multitudes import sample_path
from tests.ports import free_port

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
PORT = "8417"  # where the README serves
# A block in a language, then possibly a block of plain text: what it prints.
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```\n(?:\n^```text\n(.*?)^```\n)?", re.DOTALL | re.MULTILINE)


def test_the_python_block_is_short():
    code = next(code for language, code, _ in BLOCK.findall(README) if language == "python")
    statements = [line for line in code.splitlines() if line and not line.startswith(("from ", "import "))]
    assert len(statements) <= 12


def test_the_demo_on_own_files_leaves_that_of_make_demo_alone():
    calls = re.findall(r"^multitudes demo .*", README, re.MULTILINE)
    assert calls
    assert all(" --out " in call for call in calls), "without it the demo rejects the folder that make demo has written"


def write_movielens(folder: Path) -> None:
    """Write the sample as MovieLens does, where the README has the files of a reader."""
    sample = sample_path("movielens-small")
    events, items = pl.read_parquet(sample / "events.parquet"), pl.read_parquet(sample / "items.parquet")
    events.select("rating", "timestamp", userId="user_id", movieId="item_id").write_csv(folder / "ratings.csv")
    items.select("title", movieId="item_id", genres=pl.col("topics").list.join("|")).write_csv(folder / "movies.csv")


@pytest.mark.slow
def test_the_blocks_run_and_print_what_is_shown(tmp_path: Path):
    write_movielens(tmp_path)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    assert PORT in README
    for language, written, shown in BLOCK.findall(README):
        if language not in ("python", "bash"):
            continue
        port = str(free_port())  # only now: the blocks before take minutes
        code = written.replace(PORT, port)
        call = [sys.executable, "-c", code] if language == "python" else ["bash", "-euo", "pipefail", "-c", code]
        environment = os.environ | {"PATH": path, "COLUMNS": "100"}
        done = subprocess.run(call, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        printed = done.stdout.splitlines()
        # Films and shares may differ a little from one machine to another, the form of the answer may not.
        if language == "python":
            assert len(printed) == len(shown.splitlines())
        else:
            # A service listens before it says that it is ready: an answer may come before its line.
            assert shown.replace(PORT, port).splitlines()[0] in printed
