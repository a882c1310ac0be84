"""The pages of the commands are what the commands say of themselves."""

from pathlib import Path

import pytest
from reference.commands import all_verbs, pages, parameters

from multitudes.cli.main import command_of, run

DOCS = Path(__file__).parents[1] / "docs"


def test_the_pages_are_those_that_are_generated():
    written = {name: (DOCS / name).read_text() for name in pages()}
    assert written == pages(), "write them with: python -m reference"
    assert {f"cli/{page.name}" for page in (DOCS / "cli").iterdir()} == {*written} - {"cli.md"}


@pytest.mark.parametrize("verb", all_verbs())
def test_every_verb_has_a_heading_and_every_parameter_a_meaning(verb):
    command = command_of(verb)
    assert sum(f"\n## multitudes {verb}\n" in page for page in pages().values()) == 1
    assert command.__doc__
    assert all(p.help for p in parameters(command))


def test_every_verb_speaks_json(capsys):
    for verb in all_verbs():
        assert run([verb, "--help"]) == 0
        assert "  --json " in capsys.readouterr().out, verb
