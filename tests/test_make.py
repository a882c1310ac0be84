"""`make TORCH_INDEX=URL` installs PyTorch from there first, and `make` alone what pip finds."""

import os
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]
# Stands for Python: makes an environment of itself, and writes down what is to be installed.
PYTHON = """#!/bin/sh
case "$*" in
  "-m venv "*) mkdir -p "$3/bin"; cp "$0" "$3/bin/python" ;;
  *) echo "$*" >> calls ;;
esac
"""


def install(folder: Path, *options: str) -> list[str]:
    """Run the Makefile's installation without a network; return the calls of pip that concern PyTorch, in order."""
    for file in (
        "Makefile",
        "pyproject.toml",
        *(f"packages/{name}/pyproject.toml" for name in ("lab", "milvus", "pgvector", "spark")),
    ):
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / file, folder / file)
    (folder / "python").write_text(PYTHON)
    (folder / "python").chmod(0o755)
    call = ["make", "PYTHON=./python", ".venv/.installed", *options]
    subprocess.run(call, cwd=folder, env={"PATH": os.environ["PATH"]}, check=True, capture_output=True)
    calls = (folder / "calls").read_text().splitlines()
    return [call for call in calls if "torch>=" in call or ".[train," in call]


def test_pytorch_comes_from_the_index_that_is_given_and_stays(tmp_path):
    from_index, usual = install(tmp_path, "TORCH_INDEX=https://builds.example/cpu")
    assert "--index-url https://builds.example/cpu torch>=" in from_index
    assert ".[train," in usual, "which keeps a build that is there"


def test_without_an_index_pip_finds_pytorch(tmp_path):
    assert [".[train," in call for call in install(tmp_path)] == [True]
