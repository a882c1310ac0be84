"""What importing costs and promises: nothing heavy before it is needed, and every public name exists."""

import subprocess
import sys

import pytest

import multitudes

HEAVY = ("torch", "onnxruntime", "faiss", "polars", "duckdb", "numpy", "pandera", "pyarrow", "altair")


def loaded_after(statement: str) -> set[str]:
    """Return the top-level packages that a fresh interpreter has loaded after ``statement``."""
    code = f"{statement}\nimport sys\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize("statement", ["import multitudes", "import multitudes.cli.main"])
def test_nothing_heavy_is_loaded_before_it_is_needed(statement):
    assert loaded_after(statement).isdisjoint(HEAVY)


def test_the_check_sees_a_heavy_import():
    """Control: the same question about a room that needs them."""
    assert {"polars", "numpy"} <= loaded_after("from multitudes import Prepared")


@pytest.mark.parametrize(
    "module",
    ["retrieve.retriever", "bulk.run", "release.store", "index.build", "data.prepare", "metrics.ranking"],
)
def test_serving_and_preparing_load_no_torch(module):
    assert "torch" not in loaded_after(f"import multitudes.{module}")


def test_the_exported_names_are_those_of_all_and_exist():
    assert dir(multitudes) == sorted(multitudes.__all__)
    for name in multitudes.__all__:
        assert getattr(multitudes, name) is not None
    with pytest.raises(AttributeError, match="'Retreiver'"):
        _ = multitudes.Retreiver
