"""The seal on the test split: ``STUDY/opened.json`` counts how often it was opened, and for which cells.

The same cells asked again are the same opening: an interrupted one goes on, and a finished one shows what it found.
"""

import hashlib
import json
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from multitudes.disk import write_json
from multitudes.errors import ArtefactError
from multitudes.study.cells import Cell


def opened(study: Path) -> int:
    """Return how often the test split was opened.

    Raises:
        ArtefactError: the record is damaged, so that nobody knows.
    """
    return len(_openings(study))


def open_test(study: Path, cells: Iterable[Cell]) -> int:
    """Record that ``cells`` are asked about the test split; return how often it was opened, this time included."""
    text = "\n".join(sorted(cell.digest for cell in cells))
    asked = hashlib.sha256(text.encode()).hexdigest()[:16]
    openings = _openings(study)
    if asked not in [opening["cells"] for opening in openings]:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        openings.append({"at": now, "cells": asked})
        write_json(study / "opened.json", {"openings": openings})
    return len(openings)


def _openings(study: Path) -> list[dict[str, str]]:
    file = study / "opened.json"
    try:
        openings: list[dict[str, str]] = json.loads(file.read_text(encoding="utf-8"))["openings"]
    except FileNotFoundError:
        return []
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError):
        raise ArtefactError(
            f"{file}: damaged, so how often the test split was opened is not known; begin a new study in another folder"
        ) from None
    return openings
