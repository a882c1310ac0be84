"""How Sphinx builds the site of the documentation: `make docs` writes it to site/VERSION/, and a warning is an error.

The pages are the Markdown files as they are. The navigation is docs/README.md: each of its headings is a section of
the site, and each row of its table a page, in order; a page whose row begins with ↳ is below the last one without.
Pages of ``MAPS`` have those below them that they link to.
Each version has a folder of the site; a switch in the sidebar leads from one to another, also without a server.
Notebooks are run, and shown with what they print: one that ends with an error ends the build. Records are outside of
the site: a link to one gives the file.
"""

import json
import re
import subprocess
import sys
from pathlib import Path
from posixpath import normpath
from tempfile import TemporaryDirectory

from myst_parser.parsers.sphinx_ import MystParser
from packaging.version import Version
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

from multitudes import __version__

project = "multitudes"
release = version = __version__
author = copyright = "multitudes contributors"  # noqa: A001
root_doc = "docs/README"
include_patterns = ["*.md", "docs/**"]
exclude_patterns = [".*", "site", "build"]
extensions = ["myst_parser"]
suppress_warnings = ["misc.highlighting_failure"]  # what a command prints is not always valid in its language

myst_heading_anchors = 4  # `page.md#a-heading`, as on the pages of a repository
smartquotes = False  # an option stays `--resume`

html_theme = "furo"  # light and dark, no font or script from outside
html_title = f"multitudes {__version__}"
html_show_sphinx = False
html_copy_source = False
html_static_path = ["site.css"]
html_css_files = ["site.css"]
templates_path = ["templates"]
_SIDEBAR = ("brand", "search", "scroll-start", "navigation", "scroll-end")  # furo's own
html_sidebars = {"**": [*(f"sidebar/{part}.html" for part in _SIDEBAR), "versions.html"]}
pygments_style, pygments_dark_style = "friendly", "monokai"


_VERSIONS_SCRIPT = f"""\
const here = document.currentScript.src;
document.getElementById("versions")?.replaceChildren(...versions.map((version) => {{
  const item = document.createElement("li"), link = item.appendChild(document.createElement("a"));
  link.textContent = version;
  link.href = new URL(`${{version}}/{root_doc}.html`, here);
  return item;
}}));
"""

_MAP = Path(__file__).with_name("README.md").read_text(encoding="utf-8")

# Page -> how its links to the pages below it begin.
MAPS = {
    "docs/methods/README": "",
    "docs/cli": "cli/",
    "docs/python": "python/",
    "docs/settings": "settings/",
}


def linked_pages(text: str) -> list[str]:
    """Return the pages that a text links to, each once, in order."""
    return list(dict.fromkeys(re.findall(r"\]\((?!https?:)([^)#]+\.(?:md|ipynb))(?:#[^)]*)?\)", text)))


def sections(text: str) -> list[tuple[str, dict[str, list[str]]]]:
    """Return the headings of docs/README.md, each with its pages from the root of the site, and those below each."""
    parts = re.split(r"^## (.+)$", text, flags=re.MULTILINE)
    return [(heading, _rows(part)) for heading, part in zip(parts[1::2], parts[2::2], strict=True)]


def _rows(text: str) -> dict[str, list[str]]:
    pages: dict[str, list[str]] = {}
    for below, link in re.findall(r"^\| (↳ )?\[[^\]]+\]\(([^)#]+)\)", text, flags=re.MULTILINE):
        page = normpath(f"/docs/{link}")
        if below:
            pages[next(reversed(pages))].append(page)
        else:
            pages[page] = []
    return pages


def pages_below(name: str, text: str) -> list[str]:
    """Return the pages below a page: those that one of ``MAPS`` links to, and those below it in docs/README.md."""
    start, linked = MAPS.get(name), linked_pages(text)
    found = [page for page in linked if start is not None and re.fullmatch(re.escape(start) + "[^/]+", page)]
    return found + [page for _, rows in sections(_MAP) for page in rows.get(f"/{name}.md", [])]


def toctree(caption: str, pages: list[str]) -> str:
    """Return the directive that puts pages into the navigation."""
    return "\n".join(["", "```{toctree}", ":hidden:", f":caption: {caption}", "", *pages, "```", ""])


def offer_records(_: Sphinx, __: str, source: list[str]) -> None:
    """Make links to records, which are no pages of the site, downloads of their files."""
    source[0] = re.sub(r"\[([^\]]+)\]\(((?:\.\./)+records/[\w-]+\.md)\)", r"{download}`\1 <\2>`", source[0])


def add_navigation(_: Sphinx, name: str, source: list[str]) -> None:
    """Append the navigation to the pages that are maps of others."""
    if name == root_doc:
        source[0] += "".join(toctree(heading, list(rows)) for heading, rows in sections(source[0]) if rows)
    elif pages := pages_below(name, source[0]):
        source[0] += toctree(name, pages)


class NotebookParser(MystParser):
    """Reads a notebook as Markdown: its text, its code, and what the code prints when it is run."""

    supported = ("notebook",)

    def parse(self, inputstring: str, document: object) -> None:
        """Parse a notebook, which is run in a folder of its own.

        Raises:
            ExtensionError: a cell ends with an error.
        """
        file = Path(document["source"])
        with TemporaryDirectory() as folder:
            command = [sys.executable, str(Path(__file__).with_name("run_notebook.py")), str(file)]
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode:
            raise ExtensionError(f"{file.name}: {done.stderr}")
        blocks = []
        for cell, text in zip(json.loads(inputstring)["cells"], json.loads(done.stdout), strict=True):
            source = "".join(cell["source"])
            blocks.append(source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```")
            blocks += [f"```text\n{text.rstrip()}\n```"] if text else []
        super().parse("\n\n".join(blocks), document)


def versions(site: Path) -> list[str]:
    """Return the versions whose pages are in the folder of the site, the newest first."""
    return sorted((page.parents[1].name for page in site.glob(f"*/{root_doc}.html")), key=Version, reverse=True)


def redirect(address: str) -> str:
    """Return a page that leads to another one."""
    return (
        '<!doctype html><meta charset="utf-8"><title>multitudes</title>'
        f'<meta http-equiv="refresh" content="0; url={address}"><a href="{address}">multitudes</a>\n'
    )


def write_versions(app: Sphinx, error: Exception | None) -> None:
    """List the versions beside their folders, and lead from pages without a version to the newest of them."""
    if error is not None or app.builder.name != "html":
        return
    site = Path(app.outdir).parent
    found = versions(site)
    listed = "".join(f'<li><a href="{version}/{root_doc}.html">{version}</a></li>' for version in found)
    head = '<!doctype html><meta charset="utf-8"><title>multitudes: versions</title><h1>multitudes: versions</h1>'
    (site / "versions.json").write_text(json.dumps(found) + "\n")
    (site / "versions.js").write_text(f"const versions = {json.dumps(found)};\n{_VERSIONS_SCRIPT}")  # no fetch of files
    (site / "versions.html").write_text(f"{head}<ul>{listed}</ul>\n")
    (site / "index.html").write_text(redirect(f"{found[0]}/{root_doc}.html"))
    for page in app.env.found_docs:  # where they were before there were versions
        old = site / f"{page}.html"
        old.parent.mkdir(parents=True, exist_ok=True)
        old.write_text(redirect(f"{'../' * page.count('/')}{found[0]}/{page}.html"))


def setup(app: Sphinx) -> None:
    """Register the parser of notebooks and the hooks."""
    app.add_source_suffix(".ipynb", "notebook")
    app.add_source_parser(NotebookParser)
    app.connect("source-read", add_navigation)
    app.connect("source-read", offer_records)
    app.connect("build-finished", write_versions)
