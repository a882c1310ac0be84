"""The pages of the methods name existing settings with their defaults, and their table is that of the registry."""

import re
from pathlib import Path
from typing import Any

import pytest

from multitudes.config import Config
from multitudes.data.prepare import PrepareConfig
from multitudes.evaluation.config import EvaluateConfig
from multitudes.linear.run import LinearConfig
from multitudes.nn.methods import DEFAULT_METHOD, METHODS
from multitudes.pinnersage.clustering import PinnerSageConfig
from multitudes.retrieval.config import RetrieveConfig
from multitudes.training.config import RunConfig

PAGES = Path(__file__).parents[1] / "docs" / "methods"
NAMED = re.compile(r"^\| `\[([\w.]+)\] ([\w.]+)`((?:, `[\w.]+`)*) \| ([^|]*) \|", re.MULTILINE)
IN_WORDS = {"true": True, "false": False, "fitted": None, "the items' column": None, "7 days": 7 * 86_400}


def stated(page: Path) -> list[tuple[str, str, str]]:
    """Return (section, setting, default) of every row of a page's table of settings."""
    found = []
    for section, first, others, defaults in NAMED.findall(page.read_text()):
        names = [first, *re.findall(r"[\w.]+", others)]
        values = [value.strip().strip("`") for value in defaults.split(",")]
        assert len(values) == len(names), f"{page.name}: {names} have the defaults {values}"
        found += [(section, *pair) for pair in zip(names, values, strict=True)]
    return found


def settings(section: str, method: str) -> Config:
    """Return the settings of a section as they stand for a method."""
    name, _, inner = section.partition(".")
    run = RunConfig.model_validate({"method": method if method in METHODS else DEFAULT_METHOD})
    tables: dict[str, Config] = {
        "model": run.model,
        "train": run.train,
        "retrieve": RetrieveConfig(),
        "evaluate": EvaluateConfig(),
        "prepare": PrepareConfig(),
        "linear": LinearConfig(),
        "pinnersage": PinnerSageConfig(),
    }
    table: Config = getattr(tables[name], inner) if inner else tables[name]
    return table


def differs(page: Path) -> list[str]:
    """Return what a page says of a setting and is not so."""
    wrong = []
    for section, name, said in stated(page):
        found: Any = settings(section, page.stem)
        for part in name.split("."):
            found = getattr(found, part)
        given = IN_WORDS.get(said, said)
        if found != given and str(found) != said and not (isinstance(found, float) and float(said) == found):
            wrong.append(f"[{section}] {name} = {found}, not {said}")
    return wrong


@pytest.mark.parametrize("page", sorted(PAGES.glob("*.md")), ids=lambda page: page.stem)
def test_every_setting_has_the_default_that_its_page_states(page: Path) -> None:
    assert differs(page) == []


def methods_table() -> list[str]:
    """Return the rows of the table in README.md for the methods of the registry."""
    rows = []
    for name, spec in METHODS.items():
        title = f"[{name}]({name}.md)" + (f" ({spec.paper})" if spec.paper else "")
        title += ", the default" if name == DEFAULT_METHOD else ""
        has_unconditioned = spec.always_unconditioned or spec.defaults.get("unconditioned", True)
        vectors = " + ".join(["1"] * has_unconditioned + ["K"] * bool(spec.implicit) + ["C"] * spec.explicit)
        rows.append(f"| {title} | {vectors} | {spec.interests} |")
    return rows


def test_the_pages_state_settings_and_the_methods_of_the_registry(tmp_path: Path) -> None:
    assert sum(len(stated(page)) for page in PAGES.glob("*.md")) > 40
    page = tmp_path / "clustering.md"
    page.write_text("| `[model] interests`, `reads` | 5, `interest` | |\n")
    assert differs(page) == ["[model] interests = 4, not 5"]
    lines = (PAGES / "README.md").read_text().splitlines()
    first = lines.index(methods_table()[0])
    assert lines[first : first + len(METHODS)] == methods_table()


@pytest.mark.parametrize("name", sorted(picture.stem for picture in PAGES.glob("*.svg")))
def test_a_picture_is_on_the_page_of_its_method(name: str) -> None:
    assert f"({name}.svg)" in (PAGES / f"{name}.md").read_text()
    assert f"({name}.md)" in (PAGES / "README.md").read_text()
