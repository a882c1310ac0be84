"""``python -m reference.size``: how large the project is: lines, words of pages, settings, commands, imports.

Pages are those of the site and of the root. Generated are the reference pages and what stands between the marks of a
program; everything else is hand-written, translations too. Records are outside of the site.
"""

import json
import re
from collections.abc import Iterable, Mapping
from graphlib import TopologicalSorter
from pathlib import Path

import grimp

from multitudes.cli.main import VERBS, command_of
from multitudes.config import SECTIONS, Config, section_config
from multitudes.service.settings import ServeConfig
from multitudes_lab.simulation.config import ExperimentConfig
from reference.commands import all_verbs, parameters
from reference.markdown import DOCS, NOTE
from reference.settings import table_of

ROOT = DOCS.parent
SOURCE = ROOT / "src" / "multitudes"
PACKAGES = ROOT / "packages"
# What a service with trained interests does without, beside PACKAGES, relative to SOURCE; the rest of it is the core.
ADD_ONS = (
    "batch_inference",
    "client.py",
    "explorer",
    "pinnersage",
    "repeats.py",
    "report",
    "study",
)
_WRITTEN = re.compile(r"<!-- [^>]*written by.*?<!-- end -->", re.DOTALL)


def main() -> None:
    """Print the sizes."""
    _print("Lines", "files", ((name, count_lines(files), len(files)) for name, files in sources().items()))
    words = {name: (sum(map(word_count, texts)), len(texts)) for name, texts in pages().items()}
    _print("Words", "pages", ((name, *counts) for name, counts in words.items()))
    settings = {"multitudes.toml": [section_config(name) for name in SECTIONS if "." not in name]}
    settings |= {"serve.toml": [ServeConfig], "WORLD.toml": [ExperimentConfig]}
    _print("Settings", "", ((name, sum(map(count_settings, configs)), None) for name, configs in settings.items()))
    added = [verb for verb in all_verbs() if verb not in VERBS]
    commands = {"verbs": len(VERBS), "parameters": count_parameters(VERBS)}
    commands |= {"verbs of add-ons": len(added), "parameters of add-ons": count_parameters(added)}
    _print("Commands", "", ((name, number, None) for name, number in commands.items()))
    graph = grimp.build_graph("multitudes", exclude_type_checking_imports=True)
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    chain = longest_chain(
        {name: found for name, found in imports.items() if f"{name}.".startswith("multitudes.index.")}
    )
    cycles = in_cycles(imports)
    _print("Imports", "", [("modules in cycles", len(cycles), None), ("floors of index", len(chain), None)])
    print("  floors:", " → ".join(name.removeprefix("multitudes.") for name in chain))
    if cycles:
        print("  in cycles:", ", ".join(sorted(cycles)))


def sources() -> dict[str, list[Path]]:
    """Return the Python files by part of the project."""
    source, add_ons = set(SOURCE.rglob("*.py")), [SOURCE / name for name in ADD_ONS]
    added = {file for file in source if any(file == name or name in file.parents for name in add_ons)}
    measured = [file for name in ("benchmarks", "reliability") for file in (ROOT / name).rglob("*.py")]
    return {
        "core": sorted(source - added),
        "add-ons": sorted([*added, *PACKAGES.glob("*/src/**/*.py")]),
        "tests": sorted((ROOT / "tests").rglob("*.py")),
        "benchmarks and reliability": sorted(measured),
    }


def count_lines(files: Iterable[Path]) -> int:
    """Return the number of lines of files."""
    return sum(len(file.read_text(encoding="utf-8").splitlines()) for file in files)


def pages() -> dict[str, list[str]]:
    """Return the texts of the pages by who writes them; a page with a generated table counts as hand-written."""
    files = [*ROOT.glob("*.md"), *DOCS.rglob("*.md"), *DOCS.rglob("*.ipynb")]
    texts = [text_of(file) for file in files]
    by_hand = [text for text in texts if NOTE not in text]
    tables = [table for text in by_hand for table in _WRITTEN.findall(text)]
    return {
        "hand-written": [_WRITTEN.sub("", text) for text in by_hand],
        "generated": [text for text in texts if NOTE in text],
        "generated tables": tables,
        "records": [file.read_text(encoding="utf-8") for file in (ROOT / "records").glob("*.md")],
    }


def text_of(page: Path) -> str:
    """Return the text of a page, or of the cells of a notebook."""
    text = page.read_text(encoding="utf-8")
    if page.suffix != ".ipynb":
        return text
    return "\n\n".join("".join(cell["source"]) for cell in json.loads(text)["cells"])


def word_count(text: str) -> int:
    """Return the number of words between spaces; a number or a piece of code is a word too."""
    return len(text.split())


def count_settings(config: type[Config]) -> int:
    """Return the number of settings of a file or section; another file's section within it counts there."""
    sections = {address.rpartition(":")[2] for address in SECTIONS.values()}
    inner = [table_of(field.annotation) for field in config.model_fields.values()]
    tables = [table for table in inner if table is not None]
    own = [table for table in tables if table.__name__ not in sections]
    return len(inner) - len(tables) + sum(map(count_settings, own))


def count_parameters(verbs: Iterable[str]) -> int:
    """Return the number of arguments and options of verbs."""
    return sum(len(parameters(command_of(verb))) for verb in verbs)


def in_cycles(imports: Mapping[str, set[str]]) -> set[str]:
    """Return the modules that import themselves through others."""
    return {module for module in imports if module in _upstream(module, imports)}


def _upstream(module: str, imports: Mapping[str, set[str]]) -> set[str]:
    """Return all that a module imports, directly or through others."""
    found, left = set[str](), [module]
    while left:
        new = imports.get(left.pop(), set()) - found
        found |= new
        left += new
    return found


def longest_chain(imports: Mapping[str, set[str]]) -> list[str]:
    """Return the longest chain of modules each of which imports the next, among those given.

    Raises:
        graphlib.CycleError: they import each other in a cycle.
    """
    chains: dict[str, list[str]] = {}
    for module in TopologicalSorter(imports).static_order():
        below = (chains[name] for name in sorted(imports.get(module, ())) if name in imports)
        if module in imports:
            chains[module] = [module, *max(below, key=len, default=[])]
    return max(chains.values(), key=len, default=[])


def _print(title: str, counted: str, rows: Iterable[tuple[str, int, int | None]]) -> None:
    print(title)
    for name, size, number in rows:
        print(f"  {name:28}{size:>9,}  {'' if number is None else f'{number:,} {counted}'}".rstrip())


if __name__ == "__main__":
    main()
