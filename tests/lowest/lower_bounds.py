"""Print the lowest versions that ``pyproject.toml`` allows, as constraints for pip; ``make test-lowest`` installs them.

The tools of a developer are left out: their newest versions are what CI runs.

    python -m tests.lowest.lower_bounds > tests/lowest/constraints.txt
"""

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement

ROOT: Final = Path(__file__).parents[2]
TOOLS: Final = frozenset({"all", "dev", "docs", "reliability"})  # extras that no user installs, or that name others


def lower_bounds() -> list[str]:
    """Return a line for each package, in order of name: ``numpy==2.1``.

    Raises:
        ValueError: a requirement has no lower bound, or two of one package have different ones.
    """
    lines = dict[str, str]()
    for requirement in _requirements():
        bounds = [one.version for one in requirement.specifier if one.operator == ">="]
        if len(bounds) != 1:
            raise ValueError(f"{requirement}: expected one lower bound, such as >=1.2")
        marker = f" ; {requirement.marker}" if requirement.marker else ""
        line = f"{requirement.name}=={bounds[0]}{marker}"
        if lines.setdefault(requirement.name, line) != line:
            raise ValueError(f"{requirement}: another extra asks for {lines[requirement.name]}")
    return [lines[name] for name in sorted(lines, key=str.lower)]


def _requirements() -> Iterator[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    add_ons = [tomllib.loads(file.read_text())["project"] for file in (ROOT / "packages").glob("*/pyproject.toml")]
    extras = {name: texts for name, texts in project["optional-dependencies"].items() if name not in TOOLS}
    for texts in (project["dependencies"], *extras.values(), *(one["dependencies"] for one in add_ons)):
        requirements = map(Requirement, texts)
        yield from (one for one in requirements if one.name != project["name"])


if __name__ == "__main__":
    print("\n".join(lower_bounds()))  # noqa: T201
