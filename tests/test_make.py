"""`make` installs a CPU build of PyTorch where there is no GPU, and what pip finds where there is no such build."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# Stands for Python: makes an environment of itself, writes down what is to be installed, and fails where it is told to.
PYTHON = """#!/bin/sh
case "$*" in
  "-m venv "*) mkdir -p "$3/bin"; cp "$0" "$3/bin/python" ;;
  *) echo "$*" >> calls; case "$*" in $FAILS) exit 1 ;; esac ;;
esac
"""


def install(folder: Path, *, has_gpu: bool, fails: str) -> list[str]:
    """Run the Makefile's installation without a network; return the calls of pip that concern PyTorch, in order."""
    for file in (
        "Makefile",
        "pyproject.toml",
        *(f"packages/{name}/pyproject.toml" for name in ("lab", "milvus", "spark")),
    ):
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / file, folder / file)
    for name, text in (("python", PYTHON), ("nvidia-smi", f"#!/bin/sh\nexit {0 if has_gpu else 9}\n")):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    environment = {"PATH": f"{folder}:{os.environ['PATH']}", "FAILS": fails}
    call = ["make", "PYTHON=./python", ".venv/.installed"]
    subprocess.run(call, cwd=folder, env=environment, check=True, capture_output=True)
    calls = (folder / "calls").read_text().splitlines()
    return [call for call in calls if "torch>=" in call or ".[train," in call]


@pytest.mark.parametrize(
    ("has_gpu", "can_be_had", "builds"),
    [(True, True, ["usual"]), (False, True, ["cpu", "usual"]), (False, False, ["cpu", "usual"])],
)
def test_a_cpu_build_is_tried_where_there_is_no_gpu_and_the_usual_one_follows(has_gpu, can_be_had, builds, tmp_path):
    calls = install(tmp_path, has_gpu=has_gpu, fails="" if can_be_had else "*whl/cpu*")
    assert ["cpu" if "whl/cpu torch>=" in call else "usual" for call in calls] == builds
    assert ".[train," in calls[-1], "which keeps a build that is there"
