import json

import pytest
from benchmarks.child_process import ChildResult
from benchmarks.index import run as run_module
from benchmarks.index.corpus import KINDS
from benchmarks.index.page import page
from benchmarks.index.picture import draw, rows
from benchmarks.index.records import corpora
from benchmarks.index.run import PARTS, Plan, run


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """Every part of two engines on a tiny corpus, without a process for each."""
    folder = tmp_path_factory.mktemp("bench")
    plan = Plan(KINDS[:1], (1_500,), 8, ("exact", "inverted"), tuple(PARTS), 4, 1, related=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_module, "run_in_child", lambda f, _, **arguments: ChildResult(f(**arguments), 1.0, 1.0, 10.0))
        run(plan, folder / "work", folder / "index.json")
    return json.loads((folder / "index.json").read_text())


@pytest.mark.slow
def test_a_tiny_run_gives_a_page_with_every_table_and_a_picture(records, tmp_path):
    text = page(records, [], "index.json")
    for head in ("| goal |", "| engine | request |", "| engine | build s |", "after ", "| engine | depth |"):
        assert head in text
    assert "nan" not in text
    widths = [line.count("|") for line in text.splitlines() if line.startswith("|")]
    assert min(widths) > 3
    points = rows(corpora(records)[0])
    assert set(points["engine"]) == {"exact", "inverted"}
    draw(corpora(records), tmp_path / "picture")
    assert (tmp_path / "picture.svg").read_text().startswith("<svg")
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_a_run_that_was_interrupted_once_its_vectors_were_drawn_has_a_page_without_them(records):
    drawn = [record for record in records if record["step"]["part"] == "world"]
    unmeasured = [{**record, "step": {**record["step"], "items": 10_000_000}} for record in drawn]
    assert page([*records, *unmeasured], [], "index.json") == page(records, [], "index.json")
