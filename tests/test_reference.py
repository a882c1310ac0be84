"""The reference pages are what the code says, and leave no public name out."""

import re

import pytest
from reference import commands, pages, python
from reference.commands import all_verbs, parameters
from reference.markdown import DOCS

import multitudes
from multitudes.cli.main import command_of, run


def test_every_page_is_in_step_with_the_code_and_has_every_public_name():
    for name, text in pages.pages().items():
        assert (DOCS / name).read_text(encoding="utf-8") == text, f"docs/{name}: write it with: python -m reference"
    assert {f"cli/{page.name}" for page in (DOCS / "cli").iterdir()} <= commands.pages().keys()
    shown = {name for _, names in python.PAGES.values() for name in names}
    assert {*multitudes.__all__} - shown == {"__version__"}
    modules = set(re.findall(r"``(multitudes\.[\w.]+)``", multitudes.__doc__ or "")) - {"multitudes.errors"}
    assert {name.partition(":")[0] for name in shown if ":" in name} >= modules


@pytest.mark.parametrize("verb", all_verbs())
def test_every_verb_has_a_heading_and_every_parameter_a_meaning(verb):
    command = command_of(verb)
    assert sum(f"\n## multitudes {verb}\n" in page for page in commands.pages().values()) == 1
    assert command.__doc__
    assert all(p.help for p in parameters(command))


def test_every_verb_speaks_json(capsys):
    for verb in all_verbs():
        assert run([verb, "--help"]) == 0
        assert "  --json " in capsys.readouterr().out, verb
