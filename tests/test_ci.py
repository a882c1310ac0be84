"""Public CI runs what `.ci/run` runs: the same `make` targets, on every Python that the package names."""

import re
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
WORKFLOW = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
COMMANDS = [step["run"] for job in WORKFLOW["jobs"].values() for step in job["steps"] if "run" in step]
RUN = re.sub(r"#.*", "", (ROOT / ".ci" / "run").read_text()).replace("\\\n", " ")


def targets(script: str) -> set[str]:
    """Return the targets of the calls of make: words without a dot, a sign of a variable, or a dash before them."""
    calls = re.findall(r"\bmake\s(.+)", script)
    return {
        word for call in calls for word in call.partition("ARGS=")[0].split() if re.fullmatch(r"[a-z][a-z-]*", word)
    }


def test_both_run_the_same_targets_and_the_makefile_has_them():
    called = targets("\n".join(COMMANDS))
    assert called == targets(RUN) >= {"lint", "docs", "test"}
    made = re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert called <= {*made}


def test_the_matrix_has_every_python_that_the_package_names():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = [re.fullmatch(r"Programming Language :: Python :: (3\.\d+)", text) for text in project["classifiers"]]
    matrix = WORKFLOW["jobs"]["tests"]["strategy"]["matrix"]["python"]
    assert {one[1] for one in named if one} <= {*matrix}
    assert matrix[0] == project["requires-python"].removeprefix(">=")
