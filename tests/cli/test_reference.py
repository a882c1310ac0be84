"""docs/cli.md is what the commands say of themselves."""

from pathlib import Path

import pytest

from multitudes.cli.main import VERBS, command_of
from multitudes.cli.reference import parameters, reference

PAGE = Path(__file__).parents[2] / "docs" / "cli.md"


def test_the_page_is_the_one_that_is_generated():
    assert PAGE.read_text() == reference(), "write it with: python -m multitudes.cli.reference > docs/cli.md"


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_a_heading_and_every_parameter_a_meaning(verb):
    command = command_of(verb)
    assert f"\n## multitudes {verb}\n" in PAGE.read_text()
    assert command.__doc__
    assert all(p.help for p in parameters(command))


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb != "init"])
def test_every_verb_but_init_speaks_json(verb):
    names = [p.name for p in parameters(command_of(verb))]
    assert "--json" in names
