"""The benchmark of the baselines: its table, and the documentation that quotes it."""

import json
import sys

from benchmarks.machine import ROOT

from benchmarks import baselines
from multitudes.evaluation.model_baselines import GRIDS
from multitudes.progress import silent
from tests.worlds import planted


def test_every_baseline_has_figures_and_the_record_says_how(tmp_path, monkeypatch, capsys):
    _, prepared = planted()
    out = tmp_path / "results.json"
    monkeypatch.setattr(sys, "argv", ["baselines", str(prepared.path), "--out", str(out)])
    assert baselines.main() == 0
    record = json.loads(out.read_text())["validation"][prepared.path.name]
    assert record["figures"].keys() == baselines.LABELS.keys()
    assert record["tuning"].keys() == GRIDS.keys()
    assert {"machine", "versions", "settings"} <= record.keys()
    assert all(0 < figures["hr@100"]["mean"] <= 1 for figures in record["figures"].values())
    printed = capsys.readouterr().out
    assert all(label in printed for label in baselines.LABELS.values())


def test_ease_that_is_absent_is_a_dash_in_the_table(monkeypatch):
    _, prepared = planted(users=110)  # a world of its own: what was fitted before is kept
    monkeypatch.setattr("multitudes.linear.ease_model.MAX_CELLS", 10)
    record = baselines.measure(prepared, "validation", silent)
    assert "ease_64" not in record["figures"]
    lines = baselines.figures_table({"world": record})
    assert sum(line.endswith("| – |") for line in lines) == 2


def test_the_record_quotes_the_stored_figures():
    records = json.loads((ROOT / baselines.RESULTS).read_text())["validation"]
    page = (ROOT / "records" / "findings.md").read_text()
    for line in baselines.figures_table(records)[2:-1]:
        assert line.split("|", 2)[2] in page
