"""The demo on a person's own files: every step runs as printed, and bad input is one line."""

import shlex

import pytest

from multitudes.cli import demo
from multitudes.cli.main import run


@pytest.fixture
def shop(tmp_path, monkeypatch):
    """Return a folder with ratings and titles in columns of their own, where the demo solves EASE: a second."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(demo, "METHOD", "linear")
    quick = 'max_users = 20\nbaselines = "none"'
    monkeypatch.setattr(demo, "OWN_SETTINGS", demo.OWN_SETTINGS.replace("max_users = 2000", quick))
    rows = [f"{u},{(7 * u + k * (1 + u % 3)) % 60 + 1},{1000 * k + u}" for u in range(80) for k in range(12)]
    (tmp_path / "orders.csv").write_text("\n".join(["client,movieId,timestamp", *rows]))
    films = [f"{i},Film {i},{'Comedy' if i % 2 else 'Drama|Crime'}" for i in range(1, 61)]
    (tmp_path / "films.csv").write_text("\n".join(["movieId,title,genres", *films]))
    return tmp_path


def test_own_files_become_recommendations_by_the_commands_that_are_printed(shop, capsys):
    words = ["demo", "orders.csv", "--items", "films.csv", "--map", "client=user_id", "--out", "mine"]
    assert run(words) == 0
    lines = capsys.readouterr().out.splitlines()
    steps = [shlex.split(line)[2] for line in lines if line.startswith("$ multitudes ")]
    assert steps == ["import", "prepare", "train", "evaluate", "report", "publish", "recommend"]
    hints = [line for line in lines if line.startswith(("next: ", "or: "))]
    assert hints == ["next: multitudes explore mine/releases", "or: multitudes serve mine/releases"]
    assert any("Film " in line for line in lines)
    for name in ("data", "demo.toml", "prepared", "linear", "releases", "report.html"):
        assert (shop / "mine" / name).exists(), name


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["missing.csv"], "missing.csv: no such file"),
        (["films.csv"], "user_id"),
        (["orders.csv", "--map", "client=user_id", "--map", "nobody=item_id"], "nobody"),
        (["--items", "films.csv"], "give their file too"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(shop, capsys, words, said):
    assert run(["demo", *words, "--out", "mine"]) > 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("multitudes: ")
    assert said in line
    assert not (shop / "mine").exists()


def test_rows_that_could_not_be_used_are_kept_where_the_error_says(shop, capsys):
    rows = [f"{u},{u if u % 2 else ''},{1000 + u}" for u in range(200)]
    (shop / "broken.csv").write_text("\n".join(["client,movieId,timestamp", *rows]))
    call = ["demo", "broken.csv", "--map", "client=user_id", "--out", "mine"]
    for _ in range(2):  # what is left does not stand in the way of the next attempt
        assert run(call) > 1
        (line,) = capsys.readouterr().err.splitlines()
        assert "mine/data.dropped.csv" in line
        assert (shop / "mine/data.dropped.csv").exists()
        assert "--max-dropped 0.51" in line
