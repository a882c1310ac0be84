"""What importing costs and promises: nothing heavy before it is needed, and every public name exists."""

import subprocess
import sys

import pytest

import multitudes

HELP = "from multitudes.cli.main import run; run(['--help']); print()"
HEAVY = ("torch", "onnxruntime", "faiss", "polars", "duckdb", "numpy", "pyarrow", "altair")


def loaded_after(statement: str) -> set[str]:
    """Return the top-level packages that a fresh interpreter has loaded after ``statement``."""
    code = f"{statement}\nimport sys\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "statement", ["import multitudes", "import multitudes.cli.main", "import multitudes_lab, multitudes_spark", HELP]
)
def test_nothing_heavy_is_loaded_before_it_is_needed(statement):
    assert loaded_after(statement).isdisjoint(HEAVY)


BASE_INSTALL = """
import sys
EXTRAS = {"altair", "duckdb", "fastapi", "httpx", "onnx", "optuna", "prometheus_client", "safetensors"}
EXTRAS |= {"pyarrow", "scipy", "starlette", "threadpoolctl", "torch", "uvicorn"}
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in EXTRAS:
            raise ModuleNotFoundError(f"No module named '{name}'", name=name)
sys.meta_path.insert(0, Missing())
"""


def base_install(statement: str) -> str:
    """Return what a statement prints in a fresh interpreter that finds no package of an extra."""
    call = [sys.executable, "-c", BASE_INSTALL + statement]
    return subprocess.run(call, capture_output=True, text=True, check=True).stdout


def test_the_exported_names_exist_also_in_a_base_install():
    names = base_install("from multitudes import *; print(*dir())").split()
    assert set(multitudes.__all__) <= set(names)
    assert base_install("import multitudes; print(hasattr(multitudes, 'Client'))") == "True\n"
    page = base_install("import pydoc, multitudes; print(pydoc.plain(pydoc.render_doc(multitudes)))")
    assert "Retriever" in page
    assert "pip install 'multitudes[client]'" in page
    assert dir(multitudes) == sorted(multitudes.__all__)
    for name in multitudes.__all__:
        assert getattr(multitudes, name) is not None
    with pytest.raises(AttributeError, match="'Retreiver'"):
        _ = multitudes.Retreiver  # type: ignore[attr-defined]
    assert {"polars", "numpy"} <= loaded_after("from multitudes import PreparedData")


@pytest.mark.parametrize(
    ("use", "extra"), [("train('prepared')", "train"), ("TrainedRun.open('run')", "train"), ("Client('url')", "client")]
)
def test_a_name_whose_extra_is_missing_says_so_when_it_is_used(use, extra):
    code = f"import multitudes\ntry: multitudes.{use}\nexcept multitudes.errors.MissingError as error: print(error)"
    assert base_install(code).endswith(f"pip install 'multitudes[{extra}]'\n")


@pytest.mark.parametrize(
    ("call", "extra"),
    [(["demo"], "train"), (["keys", "list", "k"], "serve"), (["recommend", "r", "--all", "--out", "o"], "data")],
)
def test_a_command_whose_extra_is_missing_names_that_extra(call, extra):
    code = f"sys.stderr = sys.stdout\nfrom multitudes.cli.main import run\nassert run({call}) == 5"
    assert base_install(code).endswith(f"pip install 'multitudes[{extra}]'\n")
