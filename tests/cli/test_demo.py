"""The demo: its folder, what it says about figures, and (slow) the whole of it."""

import json
import shutil
from pathlib import Path

import polars as pl
import pytest

from multitudes import sample_path
from multitudes.cli import demo
from multitudes.cli.demo import COMPARED_WITH, OWN_SETTINGS, SETTINGS, comparison_sentences, create_demo_folder
from multitudes.cli.main import run
from multitudes.config import SECTIONS, load_section
from multitudes.config_template import section_config
from multitudes.errors import UsageError


@pytest.mark.parametrize("text", [SETTINGS, OWN_SETTINGS])
def test_the_settings_of_the_demo_are_known_to_the_configuration(text: str, tmp_path: Path):
    file = tmp_path / "demo.toml"
    file.write_text(text)
    loaded = {section: load_section(file, section, section_config(section)) for section in SECTIONS}
    assert loaded["train"] != section_config("train")()


def test_a_demo_that_ends_well_leaves_its_folder_finished(tmp_path: Path):
    out = tmp_path / "demo"
    with create_demo_folder(out, overwrite=False):
        (out / "prepared").mkdir()
    assert sorted(path.name for path in out.iterdir()) == ["demo.toml", "prepared"]


def test_an_earlier_demo_is_kept_or_replaced_as_asked(tmp_path: Path):
    out = tmp_path / "demo"
    with create_demo_folder(out, overwrite=False):
        (out / "old").touch()
    with pytest.raises(UsageError, match="--overwrite"), create_demo_folder(out, overwrite=False):
        pass
    assert (out / "old").exists()
    with create_demo_folder(out, overwrite=True):
        assert not (out / "old").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["demo"]


@pytest.mark.parametrize("stop", [KeyboardInterrupt, RuntimeError])
def test_an_interrupted_demo_leaves_nothing(tmp_path: Path, stop):
    def demonstrate(out: Path) -> None:
        with create_demo_folder(out, overwrite=False):
            (out / "joint").mkdir()
            raise stop

    with pytest.raises(stop):
        demonstrate(tmp_path / "demo")
    assert not list(tmp_path.iterdir())


def test_what_a_killed_demo_left_is_replaced_without_asking(tmp_path: Path):
    out = tmp_path / "demo"
    out.mkdir()
    (out / ".unfinished").touch()
    (out / "half").touch()
    with create_demo_folder(out, overwrite=False):
        assert not (out / "half").exists()


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_that_the_demo_did_not_write_is_never_touched(tmp_path: Path, overwrite):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(UsageError, match="not written by the demo"), create_demo_folder(tmp_path, overwrite):
        pass
    assert (tmp_path / "thesis.tex").exists()


@pytest.mark.parametrize(
    ("low", "mean", "high", "said"),
    [
        (0.01, 0.02, 0.03, "joint finds more than unconditioned"),
        (-0.03, -0.02, -0.01, "joint finds less than unconditioned"),
        (-0.01, 0.02, 0.03, "joint is not shown to differ from unconditioned"),
        (-0.01, 0.0, 0.01, "joint is not shown to differ from unconditioned"),
        (0.0, 0.0, 0.0, "unconditioned, the one vector of the whole history of the same model: not compared"),
    ],
)
def test_a_sentence_says_no_more_than_its_interval(low, mean, high, said):
    gain = {"mean": mean, "low": low, "high": high}
    figures = {"hr@100": gain, "served@100": gain}  # equal figures with a gain of zero: the same list
    block = {
        "budget": 100,
        "methods": dict.fromkeys(["joint", *COMPARED_WITH], figures),
        "differences": dict.fromkeys(COMPARED_WITH, figures),
    }
    assert comparison_sentences(block)[0].startswith(said)


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
    out = tmp_path / "demo"
    assert run(["demo", "--out", str(out), "--json"]) == 0
    captured = capsys.readouterr()
    record = json.loads(captured.out.splitlines()[-1])
    assert captured.err == ""
    for name in ("demo.toml", "prepared", "joint", "releases", "report.html", "recommend.svg"):
        assert (out / name).exists(), name
    assert not (out / ".unfinished").exists()
    # The model knows the person: its interval lies above the same list for everyone.
    for method in ("joint", "unconditioned"):
        assert record["methods"][method]["hr@100"]["low"] > record["methods"]["popularity"]["hr@100"]["mean"]
    for said in ("whole history", "a topic that the user follows", "because of", "− joint, HR", "try next:"):
        assert said in captured.out
    assert run(["demo", "--out", str(out)]) == 2
