"""Rules that every source file keeps."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted([*ROOT.glob("src/**/*.py"), *ROOT.glob("packages/*/src/**/*.py")])
NAMELESS = {"utils", "util", "helpers", "helper", "common", "misc", "base", "core", "tools"}
PICKLES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}


def imported(tree: ast.Module) -> set[str]:
    """Return the top-level packages that a module imports anywhere in it."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
    return {name.partition(".")[0] for name in names}


def unpickles(tree: ast.Module) -> bool:
    """Return True if a call allows pickle by its arguments, or loads with torch, which unpickles."""
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        if any(k.arg == "allow_pickle" and not is_false(k.value) for k in call.keywords):
            return True
        if ast.unparse(call.func) in {"torch.load", "torch.save"}:
            return True
    return False


def is_false(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is False


def test_the_sources_are_found_and_every_room_has_its_tests():
    assert len(SOURCES) > 50
    packages = {path.parent.name for path in (ROOT / "src" / "multitudes").glob("*/__init__.py")}
    tested = {path.parent.name for path in (ROOT / "tests").glob("*/__init__.py")}
    assert packages <= tested


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: str(file.relative_to(ROOT)))
def test_a_module_says_what_it_is_and_never_pickles(file: Path):
    tree = ast.parse(file.read_text())
    assert ast.get_docstring(tree), "a module begins with a sentence of what it is"
    assert file.stem not in NAMELESS, "a module is named for its subject"
    assert imported(tree).isdisjoint(PICKLES)
    assert not unpickles(tree)


@pytest.mark.parametrize(
    "line", ["import pickle", "from joblib import load", "np.load(f, allow_pickle=True)", "torch.load(f)"]
)
def test_the_rule_sees_what_it_forbids(line):
    tree = ast.parse(line)
    assert not imported(tree).isdisjoint(PICKLES) or unpickles(tree)


@pytest.mark.parametrize("add_on", sorted(path.name for path in (ROOT / "packages").iterdir()))
def test_every_package_of_an_add_on_has_its_tests(add_on):
    packages = {path.parent.name for path in (ROOT / "packages" / add_on / "src").glob("*/*/__init__.py")}
    tested = {path.parent.name for path in (ROOT / "tests" / add_on).glob("*/__init__.py")}
    assert packages <= tested
