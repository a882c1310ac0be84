"""How Sphinx builds the site of the documentation: `make docs` writes it to site/, and a warning is an error.

The pages are the Markdown files as they are. The navigation is docs/README.md: each of its headings is a section of
the site, and the links below it are the pages of that section, in order. Pages of ``MAPS`` have others below them.
"""

import re
from pathlib import Path

from sphinx.application import Sphinx

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

html_theme = "furo"  # light and dark, no font or script from outside
html_title = f"multitudes {__version__}"
html_show_sphinx = False
html_copy_source = False
html_static_path = ["site.css"]
html_css_files = ["site.css"]
pygments_style, pygments_dark_style = "friendly", "monokai"


# Page -> how its links to the pages below it begin.
MAPS = {
    "docs/methods/README": "",
    "docs/cli": "cli/",
    "docs/python": "python/",
    "docs/settings": "settings/",
}


def linked_pages(text: str) -> list[str]:
    """Return the Markdown files that a text links to, each once, in order."""
    return list(dict.fromkeys(re.findall(r"\]\((?!https?:)([^)#]+\.md)(?:#[^)]*)?\)", text)))


def sections(page: str) -> list[tuple[str, list[str]]]:
    """Return the headings of a map of pages, each with the pages that it links to."""
    parts = re.split(r"^## (.+)$", page, flags=re.MULTILINE)
    return [(heading, linked_pages(text)) for heading, text in zip(parts[1::2], parts[2::2], strict=True)]


def pages_below(name: str, text: str) -> list[str]:
    """Return the pages that a page of ``MAPS`` has below it."""
    start = MAPS[name]
    return [page for page in linked_pages(text) if page.startswith(start) and "/" not in page.removeprefix(start)]


def toctree(caption: str, pages: list[str]) -> str:
    """Return the directive that puts pages into the navigation."""
    return "\n".join(["", "```{toctree}", ":hidden:", f":caption: {caption}", "", *pages, "```", ""])


def add_navigation(_: Sphinx, name: str, source: list[str]) -> None:
    """Append the navigation to the pages that are maps of others."""
    if name == root_doc:
        source[0] += "".join(toctree(heading, pages) for heading, pages in sections(source[0]) if pages)
    elif name in MAPS:
        source[0] += toctree(name, pages_below(name, source[0]))


def write_front(app: Sphinx, error: Exception | None) -> None:
    """Lead from the folder of the site to its first page."""
    if error is None:
        front = '<!doctype html><meta charset="utf-8"><title>multitudes</title>'
        front += (
            f'<meta http-equiv="refresh" content="0; url={root_doc}.html"><a href="{root_doc}.html">multitudes</a>\n'
        )
        (Path(app.outdir) / "index.html").write_text(front)


def setup(app: Sphinx) -> None:
    """Register both hooks."""
    app.connect("source-read", add_navigation)
    app.connect("build-finished", write_front)
