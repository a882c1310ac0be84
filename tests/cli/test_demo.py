"""The demo: its folder, what it says about figures, and (slow) the whole of it."""

import json
import shutil
from pathlib import Path

import polars as pl
import pytest

from multitudes import sample_path
from multitudes.cli import demo
from multitudes.cli.demo import OWN_SETTINGS, SETTINGS, create_demo_folder
from multitudes.cli.main import run
from multitudes.config import SECTIONS, load_section, section_config
from multitudes.errors import UsageError


@pytest.mark.parametrize("text", [SETTINGS, OWN_SETTINGS])
def test_the_settings_of_the_demo_are_known_to_the_configuration(text: str, tmp_path: Path):
    file = tmp_path / "demo.toml"
    file.write_text(text)
    loaded = {section: load_section(file, section, section_config(section)) for section in SECTIONS}
    assert loaded["train"] != section_config("train")()


def test_an_earlier_demo_is_kept_or_replaced_as_asked(tmp_path: Path):
    out = tmp_path / "demo"
    with create_demo_folder(out, SETTINGS, overwrite=False):
        (out / "releases").mkdir()
    with pytest.raises(UsageError, match="--overwrite"), create_demo_folder(out, SETTINGS, overwrite=False):
        pass
    assert sorted(path.name for path in out.iterdir()) == ["demo.toml", "releases"]
    with create_demo_folder(out, SETTINGS, overwrite=True):
        assert not (out / "releases").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["demo"]


def test_an_interrupted_demo_leaves_nothing_and_what_a_killed_one_left_is_replaced(tmp_path: Path):
    out = tmp_path / "demo"
    with pytest.raises(KeyboardInterrupt), create_demo_folder(out, SETTINGS, overwrite=False):
        raise KeyboardInterrupt
    assert not out.exists()
    out.mkdir()
    (out / "demo.toml").touch()
    (out / "half").touch()
    with create_demo_folder(out, SETTINGS, overwrite=False):
        assert not (out / "half").exists()


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_that_the_demo_did_not_write_is_never_touched(tmp_path: Path, overwrite):
    (tmp_path / "thesis.tex").touch()
    with (
        pytest.raises(UsageError, match="not written by the demo"),
        create_demo_folder(tmp_path, SETTINGS, overwrite=overwrite),
    ):
        pass
    assert (tmp_path / "thesis.tex").exists()


def smaller_sample(folder: Path) -> Path:
    """Write the sample without the films that few have rated: a linear model of all solves for most of the demo."""
    shutil.copytree(sample_path("movielens-small"), folder)
    events = pl.read_parquet(folder / "events.parquet")
    events.filter(pl.len().over("item_id") >= 10).write_parquet(folder / "events.parquet")
    return folder


@pytest.mark.slow
def test_the_demo_shows_the_whole_path(tmp_path: Path, capsys, monkeypatch):
    """With one epoch and fewer films: what it shows is the same, and the model has to know the person."""
    data = smaller_sample(tmp_path / "sample")
    monkeypatch.setattr("multitudes.data.sample.sample_path", lambda _: data)
    assert "\nepochs = 3\n" in SETTINGS
    monkeypatch.setattr(demo, "SETTINGS", SETTINGS.replace("\nepochs = 3\n", "\nepochs = 1\n"))
    monkeypatch.setenv("COLUMNS", "160")
    out = tmp_path / "demo"
    assert run(["demo", "--out", str(out), "--json"]) == 0
    captured = capsys.readouterr()
    record = json.loads(captured.out.splitlines()[-1])
    assert "multitudes:" not in captured.err, "progress alone"
    for name in ("demo.toml", "prepared", "joint", "releases", "report.html"):
        assert (out / name).exists(), name
    # The model knows the person: its interval lies above the same list for everyone.
    for method in ("joint", "unconditioned"):
        assert (
            record["evaluation"]["methods"][method]["hr@100"]["low"]
            > record["evaluation"]["methods"]["popularity"]["hr@100"]["mean"]
        )
    for said in ("whole history", "a topic that the user follows", "because of", "− joint, HR", "movies.csv --out "):
        assert said in captured.out
    assert run(["demo", "--out", str(out)]) == 2
