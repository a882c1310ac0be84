"""Every shipped study is valid, and its methods differ."""

import shutil
import tomllib
from pathlib import Path

import pytest

from multitudes.study.cells import Cell
from multitudes.study.config import read_study
from multitudes.study.grid import Dataset, grid_entries, make_cell

FILES = sorted((Path(__file__).parents[2] / "examples").glob("*.toml"))
EXAMPLES = [file for file in FILES if "data" in tomllib.loads(file.read_text())]  # the others are simulations


def grid_cells(file, folder, text=None):
    """Return the first seed's cell of every method and data set, with empty folders for tables that are not shipped."""
    for data in tomllib.loads(file.read_text())["data"].values():
        (folder / data.get("tables", ".")).mkdir(parents=True, exist_ok=True)
    copy = Path(shutil.copy(file, folder))
    if text is not None:
        copy.write_text(text)
    config = read_study(copy)
    cells: dict[tuple[str, str], Cell] = {}
    for entry in sorted(grid_entries(config, str(copy)), key=lambda one: bool(one.base_methods)):
        over = tuple(cells[entry.data, name] for name in entry.base_methods)
        source = Dataset(folder, entry.data, 0)
        cells[entry.data, entry.method] = make_cell(entry, source, {}, config.seeds[0], over)
    return cells


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.name)
def test_no_two_methods_of_a_study_are_the_same(file, tmp_path):
    cells = grid_cells(file, tmp_path)
    assert len({one.digest for one in cells.values()}) == len(cells)


def test_control_a_variant_without_a_difference_is_detected(tmp_path):
    file = next(one for one in EXAMPLES if one.name == "ablations.toml")
    cells = grid_cells(file, tmp_path, file.read_text().replace("model.interests = 7", "model.interests = 4"))
    assert len({one.digest for one in cells.values()}) == len(cells) - 1


def test_ablations_of_retrieval_share_the_training_of_the_plain_method(tmp_path):
    cells = grid_cells(next(one for one in EXAMPLES if one.name == "ablations.toml"), tmp_path)
    together: dict[str, list[str]] = {}
    for (_, method), one in cells.items():
        together.setdefault(one.training_digest, []).append(method)
    shared = sorted(sorted(methods) for methods in together.values() if len(methods) > 1)
    assert shared == [
        ["clustering", "global_top", "turns"],
        ["conditional", "topics_1", "topics_3", "unfiltered"],
    ]
