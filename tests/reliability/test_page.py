"""The page says what the file of results says, and no more."""

import json

import pytest
from reliability.__main__ import main
from reliability.claims import at_most
from reliability.page import page
from reliability.suite import TRIALS, report, run

from reliability import suite


def record(name="publishing", scale=1.0, torn=0, control=4):
    claim = at_most(0, "torn releases", torn, "written in place", control)
    return {
        "name": name,
        "scale": scale,
        "when": "2026-01-01 00:00 UTC",
        "machine": {"cpu": "Abacus 7", "cores": 2, "memory_gib": 8.0, "os": "Some OS"},
        "load": {"before": 0.5, "after": 0.7},
        "versions": {"python": "3.11", "schemathesis": None, "commit": "abc1234"},
        "seed": 0,
        "seconds": 12.0,
        "claims": [{**claim._asdict(), "shown": claim.shown}],
        "figures": {"kills": 1000},
        "skipped": "",
    }


def test_a_claim_stands_beside_its_control_with_how_to_try_it():
    shown = page([record()])
    assert "| torn releases | 0 | 0 | written in place | 4 | yes |" in shown
    assert "`python -m reliability publishing`" in shown
    assert "Abacus 7, 2 cores" in shown
    assert "2026-01-01 00:00 UTC, commit abc1234, full size, 12 s" in shown
    assert "## Not tested" in shown
    assert "schemathesis" not in shown.partition("##")[0].partition("Not tried")[0]


def test_what_failed_and_what_could_not_be_told_is_not_called_shown():
    assert "| 1 | written in place | 4 | **no** |" in page([record(torn=1)])
    assert "| 0 | written in place | 0 | **no** |" in page([record(control=0)])


def test_a_small_scale_is_said_and_so_is_what_was_not_tried():
    assert "**scale 0.1**" in page([record(scale=0.1)])
    assert "Not all of it at full size" in page([record(scale=0.1)])
    assert "scale" not in page([record()]).partition("## ")[2].partition("<details>")[0]
    assert "Not tried in this run: `overload`" in page([record()])
    assert "Others were at work" in page([record() | {"load": {"before": 1.0, "after": 4.5}}])


def test_every_trial_says_what_it_does():
    for name in TRIALS:
        assert f"## {TRIALS[name]}" in page([record(name)])


def test_a_trial_that_was_made_is_not_made_again_at_the_same_scale(tmp_path, monkeypatch):
    out, made = tmp_path / "out.json", []

    def make(name, scale, seconds=None):
        made.append((name, scale))
        return record(name, scale)

    monkeypatch.setattr(suite, "make_record", make)
    for scale in (1.0, 1.0, 0.5):
        assert run(("publishing",), out, scale, again=False)
    assert made == [("publishing", 1.0), ("publishing", 0.5)]
    run(("publishing",), out, 0.5, again=True)
    assert len(made) == 3
    assert len(json.loads(out.read_text())) == 1


def test_the_exit_says_whether_all_was_shown(monkeypatch, capsys):
    assert report(record())
    assert not report(record(torn=1))
    assert "NOT SHOWN" in capsys.readouterr().err
    monkeypatch.setattr("sys.argv", ["reliability", "nonsense"])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert "unknown trial 'nonsense'" in capsys.readouterr().err
