"""The documents point at what is there, and all of them can be found."""

import json
import re
from importlib import import_module
from pathlib import Path

import pytest

import multitudes

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *NOTEBOOKS])
RECORDS = sorted((ROOT / "records").glob("*.md"))


def text_of(page: Path) -> str:
    """Return a page as Markdown; `make docs` runs the notebooks."""
    if page not in NOTEBOOKS:
        return page.read_text(encoding="utf-8")
    cells = [("".join(cell["source"]), cell["cell_type"]) for cell in json.loads(page.read_text())["cells"]]
    return "\n\n".join(text if kind == "markdown" else f"```python\n{text}\n```" for text, kind in cells)


@pytest.mark.parametrize("page", [*PAGES, *RECORDS], ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_to_a_file_and_every_benchmark_that_is_named_is_there(page: Path):
    text = re.sub(r"^```.*?^```", "", text_of(page), flags=re.DOTALL | re.MULTILINE)
    for link in re.findall(r"\]\((?!https?:)([^)#]+)", text):
        assert (page.parent / link).exists(), link
    text = text_of(page)
    for found in re.finditer(r"python\s+-m\s+((?:benchmarks|reliability)(?:\.\w+)*)", text):
        module = ROOT.joinpath(*found[1].split("."))
        around = text[max(0, found.start() - 500) : found.end() + 200]
        assert module.is_dir() or module.with_suffix(".py").exists() or "commit" in around, found[1]


def test_every_page_and_every_record_is_linked():
    linked = {ROOT / "docs" / "README.md"}
    for name in ("README", "methods/README", "cli", "python", "settings"):
        page = ROOT / "docs" / f"{name}.md"
        linked |= {
            (page.parent / link).resolve()
            for link in re.findall(r"^\|.*?\]\(([^)#]+\.(?:md|ipynb))(?:#[^)]*)?\)", text_of(page), re.M)
        }
    assert sorted(str(page.relative_to(ROOT)) for page in {*PAGES} - linked) == []
    index = ROOT / "records" / "README.md"
    listed = set(re.findall(r"\]\(([\w-]+\.md)\)", index.read_text()))
    assert listed == {page.name for page in RECORDS} - {"README.md"}
    assert [page.name for page in PAGES if re.search(r"\]\([./]*records/", text_of(page))] == ["results.md"]


def test_the_navigation_is_short():
    assert len(re.findall(r"^\| \[", text_of(ROOT / "docs" / "README.md"), re.MULTILINE)) <= 45


@pytest.mark.parametrize(
    ("searched", "page"),
    [("cold start", "faq"), ("cold start", "methods/conditional"), ("hide", "faq"), ("faiss gpu", "faq")],
)
def test_a_page_that_answers_a_search_has_its_words(searched: str, page: str):
    assert re.search(rf"\b{searched}\b", text_of(ROOT / "docs" / f"{page}.md"), re.IGNORECASE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_page_is_too_long_and_its_commands_and_their_options_exist(page: Path):
    assert len(text_of(page).split()) <= 2_000, "split it by what it is for, or move its tables to records"
    reference = "\n".join(group.read_text() for group in (ROOT / "docs" / "cli").glob("*.md"))
    verbs = {section.split("\n")[0]: section for section in reference.split("\n## multitudes ")[1:]}
    code = "\n".join(code_blocks(page, "|sh|bash|console")).replace("\\\n", " ")
    for verb, rest in re.findall(r"^(?:\$ )?multitudes ([a-z][\w-]*)(.*)$", code, re.MULTILINE):
        options = re.findall(r"(?<!\S)\[?(--[a-z][\w-]*)", re.sub(r"#.*|\|.*|&&.*", "", rest))
        assert [option for option in options if f"`{option}`" not in verbs[verb]] == [], f"multitudes {verb}{rest}"


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda page: page.name)
def test_a_notebook_is_kept_without_what_it_printed(notebook: Path):
    cells = [cell for cell in json.loads(notebook.read_text())["cells"] if cell["cell_type"] == "code"]
    assert cells
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells)


def code_blocks(page: Path, languages: str = r"\w*") -> list[str]:
    return re.findall(rf"^```(?:{languages})\n(.*?)^```", text_of(page), re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("english", ["README.md", "docs/tutorial.md"])
def test_a_korean_page_has_the_code_of_the_english_one(english: str):
    korean = {"README.md": "README.ko.md", "docs/tutorial.md": "docs/ko/tutorial.md"}[english]
    assert code_blocks(ROOT / korean) == code_blocks(ROOT / english), f"copy the blocks of {english} into {korean}"


def test_the_architecture_names_every_package_and_modules_that_exist():
    page = (ROOT / "ARCHITECTURE.md").read_text()
    named = re.findall(r"`((?:\w+/)*\w+\.py)`", page) + re.findall(r"\b((?:\w+/)+\w+\.py)\b", page)
    assert len(named) > 50
    for name in named:
        roots = (ROOT, ROOT / "src" / "multitudes", *ROOT.glob("packages/*/src/*"))
        assert any((root / name).exists() for root in roots), name
    listed = page.split("## Packages")[1].split("```")[1]
    packages = {path.stem for path in (ROOT / "src" / "multitudes").iterdir() if not path.name.startswith(("_", "py"))}
    packages |= {path.name for path in (ROOT / "packages").iterdir()}
    assert {package for package in packages if not re.search(rf"^[\w, ]*\b{package}\b", listed, re.M)} == set()


def imports(page: Path) -> list[tuple[str, str]]:
    """Return what the code of a page imports from the package: module and name."""
    code = "\n".join(re.findall(r"^```py(?:thon)?\n(.*?)^```", text_of(page), flags=re.DOTALL | re.MULTILINE))
    lines = re.findall(r"^from (multitudes[\w.]*) import (.+)$", code, flags=re.MULTILINE)
    return [(module, name.strip()) for module, names in lines for name in names.split(",")]


@pytest.mark.parametrize(
    "page", [page for page in PAGES if imports(page)], ids=lambda page: str(page.relative_to(ROOT))
)
def test_the_code_of_a_page_imports_public_names_alone(page: Path):
    public = {
        "multitudes",
        "multitudes_lab",
        "multitudes_spark",
        *re.findall(r"``(multitudes\.[\w.]+)``", multitudes.__doc__ or ""),
    }
    for module, name in imports(page):
        assert module in public, f"{page.name}: {module} is not named as public in the docstring of multitudes"
        assert hasattr(import_module(module), name), f"{page.name}: {module} has no {name}"
        assert module != "multitudes" or name in multitudes.__all__
