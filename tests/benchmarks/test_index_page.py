import json

import pytest
from benchmarks.child_process import ChildResult
from benchmarks.index import run as run_module
from benchmarks.index.corpus import KINDS
from benchmarks.index.page import page
from benchmarks.index.run import PARTS, Plan, run


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """Every part of two engines on a tiny corpus, without a process for each."""
    folder = tmp_path_factory.mktemp("bench")
    plan = Plan(KINDS[:1], (1_500,), 8, ("exact", "inverted"), PARTS, 4, 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_module, "run_in_child", lambda f, _, **arguments: ChildResult(f(**arguments), 1.0, 1.0, 10.0))
        run(plan, folder / "work", folder / "index.json")
        patch.setattr(run_module, "run_in_child", lambda *_, **__: pytest.fail("what is done was done again"))
        run(plan, folder / "work", folder / "index.json")
    return json.loads((folder / "index.json").read_text())


@pytest.mark.slow
def test_a_tiny_run_gives_a_page_with_every_table(records):
    text = page(records)
    for head in ("| engine | request |", "| engine | build s |", "after ", "| engine | depth |"):
        assert head in text
    assert "nan" not in text
