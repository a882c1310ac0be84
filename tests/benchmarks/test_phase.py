"""The phase diagram: a gain where it was planted and none where it was not, and a page of the kept results."""

import json

import pytest
from benchmarks.phase.__main__ import RESULTS, main
from benchmarks.phase.cell import ONE, OPTIMUM, PLAIN, RANDOM, SEVERAL, measure
from benchmarks.phase.page import BEGIN, PAGE, PICTURE, RECORD, STUDY, real_sets, record, update_page
from benchmarks.phase.page import main as write_page
from benchmarks.phase.picture import chart
from benchmarks.phase.world import Setting

from multitudes.report.html_elements import svg


@pytest.fixture(scope="module")
def apart():
    """A large corpus, narrow vectors, tastes far apart."""
    return measure(Setting(60_000, 16, skew=2, overlap=0), users=30, seeds=[0])


def test_several_vectors_pay_in_a_large_narrow_world_of_separate_tastes(apart):
    gain = apart["served gain"]
    assert gain[f"{SEVERAL} − {ONE}"]["low"] > 0.2
    assert gain[f"{SEVERAL} − {OPTIMUM}"]["low"] > 0.1, "not even beside the vector that knows what users want"
    assert gain[f"{SEVERAL} − {RANDOM}"]["low"] > 0.1, "random parts of the history do as well as its tastes"
    assert apart["depth"][OPTIMUM] > 100


def test_nothing_is_gained_where_each_user_has_one_taste():
    one_taste = measure(Setting(60_000, 16, skew=0, overlap=0, tastes=1), users=30, seeds=[0])
    for beside in (ONE, OPTIMUM, RANDOM):
        assert one_taste["served gain"][f"{SEVERAL} − {beside}"]["mean"] == 0
        assert one_taste["recall gain"][f"{SEVERAL} − {beside}"]["low"] <= 0
    assert one_taste["depth"][ONE] < 2


def test_calibration_alone_is_enough_where_the_proposals_hold_every_taste():
    near = measure(Setting(3_000, 16, skew=1, overlap=0.5), users=30, seeds=[0])
    assert near["served gain"][f"{ONE} − {PLAIN}"]["low"] > 0.05
    assert near["served gain"][f"{SEVERAL} − {ONE}"]["mean"] < 0.01


def test_the_page_is_that_of_the_kept_results():
    page, results, sets = PAGE.read_text(), json.loads(RESULTS.read_text()), real_sets(STUDY)
    assert BEGIN in page
    assert not results["run"]["head"]["quick"]
    assert update_page(page, results, sets) == page
    assert record(results) == RECORD.read_text()
    assert svg(chart(results["cells"], sets)).count("<path") == (PAGE.parent / PICTURE).read_text().count("<path")
    next(iter(results["cells"].values()))["recall"][SEVERAL] += 0.1
    assert record(results) != RECORD.read_text()
    assert update_page(page, results, sets[1:]) != page


def test_a_quick_run_is_kept_cell_by_cell_and_drawn(tmp_path, capsys):
    out, page = tmp_path / "phase.json", tmp_path / "phase.md"
    main(["--quick", "--out", str(out)])
    kept = json.loads(out.read_text())
    assert {"machine", "versions", "seeds", "load"} <= set(kept["run"]["head"])
    removed = next(iter(kept["cells"]))
    figures = kept["cells"].pop(removed)
    kept["cells"][next(iter(kept["cells"]))]["users"] = -1  # would be another number if it were measured again
    out.write_text(json.dumps(kept))
    main(["--quick", "--out", str(out)])
    again = json.loads(out.read_text())["cells"]
    assert {name: again[removed][name] for name in figures if name != "cpu_s"} == {
        name: value for name, value in figures.items() if name != "cpu_s"
    }
    assert [cell["users"] for cell in again.values()].count(-1) == 1
    page.write_text(f"{BEGIN}\n\n<!-- end -->\n")
    write_page(["--results", str(out), "--out", str(page), "--record", str(tmp_path / "record.md")])
    assert "| 8, one taste |" in (tmp_path / "record.md").read_text()
    assert (tmp_path / PICTURE).read_text().startswith("<svg")
    with pytest.raises(SystemExit):
        main(["--out", str(out)])
    assert "other users or seeds" in capsys.readouterr().err
