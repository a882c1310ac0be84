"""The phase diagram: a gain where it was planted and none where it was not, and a page of the kept results."""

import json

import numpy as np
import pytest
from benchmarks.phase.__main__ import RESULTS, main
from benchmarks.phase.cell import ONE, OPTIMUM, PLAIN, RANDOM, SEVERAL, measure
from benchmarks.phase.page import BEGIN, PAGE, PICTURE, RECORD, STUDY, real_sets, record, written_into
from benchmarks.phase.page import main as write_page
from benchmarks.phase.picture import chart
from benchmarks.phase.vectors import PENALTIES, likelihood_optima
from benchmarks.phase.world import EVENTS, GROUP, Setting, draw_users, plant

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


def test_users_have_the_planted_tastes_with_the_planted_skew_and_overlap():
    setting = Setting(20_000, 64, skew=1, overlap=0.5)
    world = plant(setting, 0)
    cosine_CC = world.centre_CD @ world.centre_CD.T
    group_C = np.arange(len(cosine_CC)) // GROUP
    is_same = (group_C[:, None] == group_C) & ~np.eye(len(cosine_CC), dtype=bool)
    assert cosine_CC[is_same].mean() == pytest.approx(0.5, abs=0.05)
    assert cosine_CC[group_C[:, None] != group_C].mean() == pytest.approx(0, abs=0.02)
    np.testing.assert_allclose(np.linalg.norm(world.vector_MD, axis=1), 1, atol=1e-5)
    users = draw_users(world, setting, 200, 0)
    place_BL = world.taste_M[users.event_BL] % GROUP
    share_BT = np.sort([np.bincount(places, minlength=GROUP) / EVENTS for places in place_BL], axis=1)[:, ::-1]
    weight_T = 1 / np.arange(1, GROUP + 1)
    np.testing.assert_allclose(share_BT.mean(axis=0), weight_T / weight_T.sum(), atol=0.05)


def test_no_vector_is_more_likely_than_the_optimum():
    random = np.random.default_rng(0)
    item_SD = random.normal(size=(300, 8)).astype(np.float32)
    target_BD = item_SD[:6].reshape(2, 3, 8).mean(axis=1).astype(np.float64)
    for vector_BD, penalty in zip(likelihood_optima(target_BD, item_SD), PENALTIES, strict=True):

        def objective(tried_BD, penalty=penalty):
            likelihood_B = (tried_BD * target_BD).sum(axis=1) - np.log(np.exp(tried_BD @ item_SD.T).sum(axis=1))
            return likelihood_B - penalty / 8 / 2 * (tried_BD**2).sum(axis=1)

        for _ in range(20):
            other_BD = vector_BD + random.normal(scale=0.1, size=vector_BD.shape)
            assert (objective(other_BD) < objective(vector_BD)).all()


def test_the_page_is_that_of_the_kept_results():
    page, results, sets = PAGE.read_text(), json.loads(RESULTS.read_text()), real_sets(STUDY)
    assert BEGIN in page
    assert not results["run"]["head"]["quick"]
    assert written_into(page, results, sets) == page
    assert record(results) == RECORD.read_text()
    assert svg(chart(results["cells"], sets)).count("<path") == (PAGE.parent / PICTURE).read_text().count("<path")
    next(iter(results["cells"].values()))["recall"][SEVERAL] += 0.1
    assert record(results) != RECORD.read_text()
    assert written_into(page, results, sets[1:]) != page


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


@pytest.mark.parametrize(("text", "said"), [(None, "does not exist"), ("{}", "calibrated")])
def test_a_study_that_cannot_be_placed_gets_one_line(tmp_path, text, said):
    if text is not None:
        (tmp_path / "summary.json").write_text(text)
    with pytest.raises(SystemExit, match=said):
        write_page([str(tmp_path), "--out", str(tmp_path / "phase.md")])
