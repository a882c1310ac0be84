"""Every command that a message names is one that exists, with its options."""

import ast
import re
from pathlib import Path

import pytest
from reference.commands import all_verbs, parameters

from multitudes.cli.main import command_of

ROOT = Path(__file__).parents[2]
COMMAND = re.compile(r"multitudes ([a-z][a-z-]*)((?: (?!multitudes)[^;,`()]+)?)")
NOT_COMMANDS = {"service"}  # nouns after the name of the project


def messages(file: Path) -> list[str]:
    """Return the texts of a module that it may print: its strings but for docstrings, with X for what is filled in."""
    tree = ast.parse(file.read_text())
    bare = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    inner = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in ast.walk(node)} - bare
    texts = []
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            texts.append("".join(str(part.value) if isinstance(part, ast.Constant) else "X" for part in node.values))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and not {id(node)} & (bare | inner):
            texts.append(node.value)
    return texts


NAMED = [
    (str(file.relative_to(ROOT)), verb, rest)
    for file in sorted([*ROOT.glob("src/**/*.py"), *ROOT.glob("packages/*/src/**/*.py")])
    for text in messages(file)
    for verb, rest in COMMAND.findall(text)
    if verb not in NOT_COMMANDS
]


def test_the_messages_are_found():
    assert {"train", "prepare", "publish", "evaluate"} <= {verb for _, verb, _ in NAMED}


@pytest.mark.parametrize(("file", "verb", "rest"), NAMED)
def test_a_command_that_a_message_names_exists_with_its_options(file, verb, rest):
    assert verb in all_verbs(), file
    known = {p.name for p in parameters(command_of(verb))} | {"-h", "--help"}
    assert set(re.findall(r"(?<![\w-])--[a-z-]+", rest)) <= known, file
