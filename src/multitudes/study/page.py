"""``python -m multitudes.study.page STUDY``: the figures of a study as a Markdown page of the documentation.

One table of all data sets comes first, then the tables of each: on the same page, or on a page of their own.
Without the per-user outcomes, as in a repository that stores only figures, the page uses the stored summary.
"""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

from multitudes.atomic import write_text
from multitudes.errors import ArtefactError, MultitudesError
from multitudes.report.html_elements import svg
from multitudes.report.study_page import appendix_page, markdown_page, overview_chart, picture_caption
from multitudes.study.comparison import OUTCOMES_FILE
from multitudes.study.summary import SUMMARY_FILE, summarise


def main(arguments: list[str] | None = None) -> int:
    """Write the page to standard output or to a file; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m multitudes.study.page", description=__doc__)
    parser.add_argument("study", type=Path, help="folder of a study, or one with only its summary.json")
    parser.add_argument("--words", type=Path, help="Markdown to place before the figures")
    parser.add_argument("--out", type=Path, help="file to write; default: standard output")
    parser.add_argument(
        "--appendix", type=Path, help="file for the tables of each data set, and how the study was run; needs --out"
    )
    parser.add_argument("--picture", type=Path, help="SVG file for a chart below the first table; needs --out")
    options = parser.parse_args(arguments)
    if options.out is None and (options.appendix or options.picture):
        parser.error("--appendix and --picture are linked from the page; give --out too")
    try:
        summary = _read_summary(options.study)
        words = options.words.read_text(encoding="utf-8") if options.words else ""
        if options.out is None:
            sys.stdout.write(markdown_page(summary, words))
        else:
            _write_pages(summary, words, options.out, options.appendix, options.picture)
    except MultitudesError as error:
        sys.stderr.write(f"{parser.prog}: {error}\n")
        return error.exit_code
    return 0


def _write_pages(summary: dict[str, Any], words: str, out: Path, appendix: Path | None, picture: Path | None) -> None:
    chart = overview_chart(summary) if picture else None
    links = {
        "picture": _address(picture, out) if picture and chart else "",
        "appendix": _address(appendix, out) if appendix else "",
    }
    write_text(out, markdown_page(summary, words, **links))
    if appendix:
        write_text(appendix, appendix_page(summary, _address(out, appendix)))
    if picture and chart:
        write_text(picture, svg(chart.properties(background="white"), picture_caption(summary)) + "\n")


def _address(file: Path, page: Path) -> str:
    """Return the address of a file, relative to a page."""
    return Path(os.path.relpath(file, page.parent)).as_posix()


def _read_summary(study: Path) -> dict[str, Any]:
    file = study / SUMMARY_FILE
    if (study / OUTCOMES_FILE).exists() or not file.exists():
        return summarise(study)
    try:
        summary: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise ArtefactError(f"{file}: damaged; run the study again") from None
    return summary


if __name__ == "__main__":
    sys.exit(main())
