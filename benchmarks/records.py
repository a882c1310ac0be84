"""Records of measurements in one JSON file, by part and size."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from multitudes.atomic import write_json


def save_record(out: Path, part: str, name: str, record: Mapping[str, Any]) -> None:
    """Write a record into ``out``; it replaces an earlier one of the same part and name."""
    kept = read_records(out)
    kept.setdefault(part, {})[name] = record
    out.parent.mkdir(parents=True, exist_ok=True)
    write_json(out, kept)


def read_records(out: Path) -> dict[str, Any]:
    """Return the records in ``out``, by part and name; none if there is no such file."""
    kept: dict[str, Any] = json.loads(out.read_text(encoding="utf-8")) if out.exists() else {}
    return kept
