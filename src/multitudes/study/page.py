"""``python -m multitudes.study.page STUDY``: the figures of a study as a page of the documentation.

Where the per-user outcomes are gone, as in a repository that keeps figures alone, the summary is taken as it stands.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from multitudes.disk import write_text
from multitudes.errors import ArtefactError, MultitudesError
from multitudes.study.answers import OUTCOMES
from multitudes.study.markdown import page
from multitudes.study.summary import SUMMARY, summarise


def main(arguments: list[str] | None = None) -> int:
    """Write the page to standard output, or into a file; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m multitudes.study.page", description=__doc__)
    parser.add_argument("study", type=Path, help="folder of a study, or of its summary.json alone")
    parser.add_argument("--words", type=Path, help="Markdown to place before the figures")
    parser.add_argument("--out", type=Path, help="file to write; standard output without it")
    given = parser.parse_args(arguments)
    try:
        text = page(_summary(given.study), given.words.read_text(encoding="utf-8") if given.words else "")
    except MultitudesError as error:
        sys.stderr.write(f"{parser.prog}: {error}\n")
        return error.exit_code
    if given.out is None:
        sys.stdout.write(text)
        return 0
    write_text(given.out, text)
    return 0


def _summary(study: Path) -> dict[str, Any]:
    kept = study / SUMMARY
    if (study / OUTCOMES).exists() or not kept.exists():
        return summarise(study)
    try:
        summary: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise ArtefactError(f"{kept}: damaged; run the study again") from None
    return summary


if __name__ == "__main__":
    sys.exit(main())
