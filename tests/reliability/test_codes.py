"""The code before, out of the history: it runs beside the code now, under its own names of settings."""

from pathlib import Path

import pytest
from benchmarks.machine import ROOT
from reliability.claims import SkippedError
from reliability.codes import Code, both

from multitudes.progress import silent
from reliability import codes, suite

WHERE = "import multitudes.service; print(multitudes.service.__path__[0])"


def test_an_attack_is_made_on_the_code_now_and_on_the_code_before(tmp_path: Path):
    def attack(code: Code) -> str:
        return code.run(WHERE).strip()

    try:
        now, before = both(tmp_path, attack, silent)
    except SkippedError as error:
        pytest.skip(str(error))
    assert now == str(ROOT / "src" / "multitudes" / "service")
    assert (Path(before) / "door.py").exists(), "which was renamed since"


def test_without_the_history_a_trial_says_that_it_was_not_made(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(codes, "COMMIT", "0" * 40)
    found = suite.run_trial("key_race", 1.0, str(tmp_path))
    assert found["claims"] == []
    assert "which is not here" in found["skipped"]


def test_the_code_before_gets_the_settings_that_it_knows():
    settings = {"segment_s": 1, "keep_days": 90}
    assert Code._old_names("logs", settings) == {"part_s": 1, "keep_days": 90}
    assert Code._old_names("releases", {"trial_s": 5}) == {}
