"""Commands of other distributions: found by their entry points, listed by group, and harmless where they are broken."""

import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from multitudes.cli.main import _ADD_ONS, run, verbs_by_group
from multitudes.plugins import plugins

MODULE = '''
import typer

def greet_command(name: str = typer.Option("you", help="Whom.")) -> None:
    """Greet somebody."""
    print(f"good day, {name}")
'''
POINTS = """[multitudes.commands]
greet = stranger:greet_command
Serve.greet-again = stranger:greet_command
Train.train = stranger:greet_command
torn = stranger:no_such_command
"""


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """Look for entry points anew, before a test and after it."""
    plugins.cache_clear()
    yield
    plugins.cache_clear()


@pytest.fixture
def stranger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A distribution of somebody else is installed."""
    (tmp_path / "stranger.py").write_text(MODULE)
    info = tmp_path / "stranger-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: stranger\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(POINTS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "stranger", raising=False)


def test_a_command_of_a_plugin_is_called_and_listed_as_any_other_but_takes_no_verb_of_the_core(stranger, capsys):
    assert run(["greet", "--name", "Ann"]) == 0
    assert capsys.readouterr().out == "good day, Ann\n"
    assert run(["greet", "--no-such"]) == 2
    assert run(["gret"]) == 2
    assert "Did you mean 'greet'" in capsys.readouterr().err
    assert run(["--help"]) == 0
    text = capsys.readouterr().out
    assert "  greet-again  Greet somebody." in text.partition("Serve:")[2].partition("\n\n")[0]
    assert "  greet  Greet somebody." in text.partition("Plugins:")[2]
    assert "torn   Not available" in text
    assert run(["greet", "-h"]) == 0
    assert "Whom." in capsys.readouterr().out
    assert verbs_by_group()["Train"].count("train") == 1
    assert run(["train", "-h"]) == 0
    assert "Greet" not in capsys.readouterr().out


def test_one_that_cannot_be_imported_says_so_and_breaks_no_other(stranger, capsys):
    assert run(["torn", "file", "--option"]) == 5
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("multitudes: torn: plugin of stranger cannot be imported from stranger:no_such_command")
    assert run(["greet"]) == 0


@pytest.mark.parametrize("verb", _ADD_ONS)
def test_a_verb_of_an_add_on_that_is_not_installed_is_one_line_that_says_how(verb, monkeypatch, capsys):
    monkeypatch.setattr("importlib.metadata.entry_points", lambda **_: ())
    assert run([verb, "--json"]) == 5
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == (
        f"multitudes: '{verb}' is in the add-on multitudes-lab, which is not installed; install it with:"
        " pip install multitudes-lab (from a clone: pip install ./packages/lab)\n"
    )
    assert run(["--help"]) == 0
    assert verb not in capsys.readouterr().out.split()


def test_the_verbs_of_add_ons_are_those_that_they_bring():
    found: dict[str, str] = {}
    for file in (Path(__file__).parents[2] / "packages").glob("*/pyproject.toml"):
        points = tomllib.loads(file.read_text())["project"]["entry-points"]
        found |= {name.rpartition(".")[2]: file.parent.name for name in points.get("multitudes.commands", ())}
    assert found == _ADD_ONS
