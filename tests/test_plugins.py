"""The example add-on, as a stranger would install it: trained, evaluated, published and served by the command line."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.worlds import SMALL_MODEL, planted

pytest.importorskip("hatchling", reason="builds the example; it is in the extra [dev]")
ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples" / "plugin"
SET = [f"--set=model.{key}={value}" for key, value in SMALL_MODEL.items() if not isinstance(value, dict)]
SET += ["--set=model.crossing.hidden=16", "--set=train.epochs=1", "--set=train.epoch_batches=5"]
VERBS = "import json, sys; from multitudes.cli.main import run; sys.exit(max(map(run, json.loads(sys.argv[1]))))"


def call(arguments: list[str], folder: Path | None = None, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    paths = [str(path) for path in (folder, ROOT / "src", ROOT) if path is not None]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "COLUMNS": "200"}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the example, installed without a network."""
    source, folder = (tmp_path_factory.mktemp(name) for name in ("source", "installed"))
    shutil.copytree(EXAMPLE, source / "plugin")
    options = ["--quiet", "--no-index", "--no-deps", "--no-build-isolation", "--target", str(folder)]
    done = call(["-m", "pip", "install", *options, str(source / "plugin")])
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def used(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Return a folder with a run and a release of the method, and what the verbs printed."""
    folder = tmp_path_factory.mktemp("used")
    data = str(planted()[1].path)
    verbs = [
        ["train", data, "--out", "run", "--method", "windows", "--set=model.windows.power=0.5", *SET],
        ["evaluate", "run", "--set=evaluate.baselines=cheap"],
        ["report", "run", "--out", "report.html"],
        ["publish", "run", "--to", "releases", "--set=retrieve.blend=borda", "--set=retrieve.calibration=0"],
        ["recommend", "releases", "--user", "1", "--n", "5", "--json"],
    ]
    done = call(["-c", VERBS, json.dumps(verbs)], installed, folder)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


def test_its_method_metric_and_blend_are_trained_evaluated_reported_and_served(used):
    folder, printed = used
    config = json.loads((folder / "run" / "run.json").read_text())["config"]
    assert (config["method"], config["model"]["windows"]) == ("windows", {"power": 0.5})
    manifest = json.loads(next((folder / "releases").glob("versions/*/manifest.json")).read_text())
    assert manifest["method"] == "windows"
    result = json.loads((folder / "run" / "evaluation-test.json").read_text())
    figures, name = result["methods"], f"novelty@{result['budget']}"
    assert figures["windows"][name]["low"] < figures["windows"][name]["mean"] < figures["windows"][name]["high"]
    assert figures["popularity"][name]["mean"] < figures["windows"][name]["mean"], "popular items are not new"
    assert result["differences"]["popularity"][name]["low"] > 0
    for report in (printed, (folder / "report.html").read_text()):
        assert "novelty: mean self-information of the items, in bits" in report
    assert "borda" in json.loads((folder / "run" / "evaluation-test.json").read_text())["methods"]
    assert "borda: same vectors, blended by weighted Borda counts" in printed
    candidates = json.loads(printed.splitlines()[-1])["candidates"]
    scores = [one["score"] for one in candidates]
    assert len(scores) == 5
    assert scores == sorted(scores, reverse=True)
    assert scores[0] > 1, "points, not shares of ranks"


def test_its_method_passes_the_contract_of_interest_modules(installed):
    suite = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/nn/test_interests_contract.py", "-k", "windows"]
    done = call(suite, installed, ROOT)
    assert done.returncode == 0, done.stdout  # 5, if there were no tests of it


@pytest.mark.parametrize(
    ("verb", "refused"),
    [
        (["train", "DATA", "--out", "other", "--method", "windows"], "--method windows: not built in"),
        (["train", "DATA", "--out", "other", "--method", "jont"], "did you mean 'joint'?"),
        (["evaluate", "run"], "run.json: 'method' = 'windows': input should be"),
        (["recommend", "releases", "--user", "1"], "retrieval: 'blend' = 'borda'"),
        (["recommend", "releases", "--user", "1", "--set=retrieve.blend=borda"], "'blend' = 'borda'"),
    ],
)
def test_without_the_example_its_names_are_refused_in_one_line(used, verb, refused):
    folder, _ = used
    done = call(["-c", VERBS, json.dumps([verb])], None, folder)
    assert done.returncode in (2, 4)
    (line,) = done.stderr.splitlines()
    assert refused in line
    assert "installed plugin" in line


def test_a_plugin_that_cannot_be_used_is_named_in_one_line(tmp_path):
    info = tmp_path / "broken-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[multitudes.blends]\nabsent = not_there:blend\nother = json:dumps\n")
    for name, said in (("absent", "No module named 'not_there'"), ("other", "is a function; expected a BlendSpec")):
        read = f"from multitudes.retrieval.blend import BLENDS; BLENDS['{name}']"
        assert said in call(["-c", read], tmp_path).stderr.splitlines()[-1]


def test_the_example_is_short_and_its_page_shows_its_files():
    files = [EXAMPLE / "pyproject.toml", *sorted((EXAMPLE / "multitudes_example").glob("[a-z]*.py"))]
    assert sum(len(file.read_text().splitlines()) for file in files[1:]) < 80
    page = (ROOT / "docs" / "plugins.md").read_text()
    assert all(file.read_text().strip() in page for file in files)
