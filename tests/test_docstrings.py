"""The docstrings of the public API and of every protocol say what goes in, what comes out, and what is raised."""

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import multitudes
import multitudes_lab
import multitudes_spark

ROOT = Path(__file__).parents[1]
SOURCES = sorted([*ROOT.glob("src/*/**/*.py"), *ROOT.glob("packages/*/src/*/**/*.py")])


class Documented(NamedTuple):
    """A function or method of the public API or of a protocol."""

    name: str
    node: ast.FunctionDef


def functions(body: list[ast.stmt], prefix: str) -> Iterator[Documented]:
    """Yield public functions; properties and fields explain themselves."""
    for node in body:
        if not isinstance(node, ast.FunctionDef) or (node.name.startswith("_") and node.name not in ("__call__",)):
            continue
        decorators = {ast.unparse(decorator) for decorator in node.decorator_list}
        if not decorators & {"property", "cached_property", "override"}:
            yield Documented(f"{prefix}.{node.name}", node)


def public_api() -> Iterator[Documented]:
    """Yield the public functions, and the methods of public classes."""
    names = [(package, name) for package in (multitudes, multitudes_lab, multitudes_spark) for name in package.__all__]
    for package, name in names:
        value = getattr(package, name)
        if not (inspect.isfunction(value) or inspect.isclass(value)):
            continue
        tree = ast.parse(Path(inspect.getsourcefile(inspect.unwrap(value)) or "").read_text())
        node = next(n for n in tree.body if getattr(n, "name", None) == value.__name__)
        yield from functions(node.body if isinstance(node, ast.ClassDef) else [node], name)


def protocols() -> Iterator[Documented]:
    for file in SOURCES:
        for node in ast.parse(file.read_text()).body:
            is_protocol = isinstance(node, ast.ClassDef) and "Protocol" in map(ast.unparse, node.bases)
            if isinstance(node, ast.ClassDef) and is_protocol and not node.name.startswith("_"):
                yield from functions(node.body, f"{file.relative_to(ROOT)}: {node.name}")


def shortfalls(node: ast.FunctionDef) -> list[str]:
    text = ast.get_docstring(node) or ""
    arguments = [a.arg for a in [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]]
    arguments = [name for name in arguments if name not in ("self", "cls")]
    found = [] if text else ["docstring"]
    section = re.search(r"^Args:\n((?:^(?: .*)?\n?)+)", text, flags=re.MULTILINE)
    described = re.findall(r"^    \*{0,2}(\w+):", section[1] if section else "", flags=re.MULTILINE)
    # In a short docstring the sentence may name the arguments itself.
    found += [f"Args: {name}" for name in arguments if name not in described and (section or not named_in(name, text))]
    returns = ast.unparse(node.returns) if node.returns else "None"
    says = re.search(r"^(Returns|Yields):", text, flags=re.MULTILINE) or re.search(
        r"\b([Rr]eturn|Yield|Open|Answer|Describe)\b", text
    )
    if returns not in ("None", "NoReturn") and not says:
        found.append("Returns")
    raised = {raised_name(one) for one in ast.walk(node) if isinstance(one, ast.Raise)} - {""}
    found += [f"Raises: {name}" for name in sorted(raised) if f"    {name}:" not in text]
    return found


def named_in(argument: str, text: str) -> bool:
    words = argument.rpartition("_")[0] if argument.endswith(("_s", "_ids", "_id")) else argument
    return re.search(rf"\b{argument}\b|\b{words.replace('_', ' ')}s?\b", text, flags=re.IGNORECASE) is not None


def raised_name(node: ast.Raise) -> str:
    call = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
    return call.id if isinstance(call, ast.Name) and call.id.endswith("Error") else ""


ALL = [*public_api(), *protocols()]


def test_the_functions_are_found_and_what_is_missing_is_seen():
    names = {one.name for one in ALL}
    assert {"prepare.prepare", "Retriever.recommend", "src/multitudes/index/protocol.py: Index.search"} <= names
    assert "team_draft.team_draft" in names
    code = (
        'def f(a: int, b: int) -> int:\n    """Do it.\n\n    Args:\n        a: one.\n    """\n    raise ValueError("b")'
    )
    node = ast.parse(code).body[0]
    assert isinstance(node, ast.FunctionDef)
    assert shortfalls(node) == ["Args: b", "Returns", "Raises: ValueError"]


@pytest.mark.parametrize("one", ALL, ids=lambda one: one.name)
def test_a_public_docstring_says_what_goes_in_comes_out_and_is_raised(one: Documented):
    assert not shortfalls(one.node)
