"""``python -m multitudes.study.page STUDY``: the figures of a study as a page of the documentation."""

import argparse
import sys
from pathlib import Path

from multitudes.errors import MultitudesError
from multitudes.study.markdown import page
from multitudes.study.summary import summarise


def main(arguments: list[str] | None = None) -> int:
    """Write the page to standard output, or into a file; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m multitudes.study.page", description=__doc__)
    parser.add_argument("study", type=Path, help="folder of a study: cells.json and outcomes.parquet")
    parser.add_argument("--words", type=Path, help="Markdown to place before the figures")
    parser.add_argument("--out", type=Path, help="file to write; standard output without it")
    given = parser.parse_args(arguments)
    try:
        text = page(summarise(given.study), given.words.read_text(encoding="utf-8") if given.words else "")
    except MultitudesError as error:
        sys.stderr.write(f"{parser.prog}: {error}\n")
        return error.exit_code
    if given.out is None:
        sys.stdout.write(text)
        return 0
    temporary = given.out.with_name(f".{given.out.name}.part")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(given.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
