"""Records of measurements in one JSON file: by part and size, or one after another; and those of a training."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from multitudes.atomic import write_json, write_text


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


def replace_record(out: Path, record: dict[str, Any], key: Callable[[dict[str, Any]], object]) -> None:
    """Add a record to the list in ``out``, in place of an earlier one of the same key."""
    kept = [*(one for one in read_list(out) if key(one) != key(record)), record]
    out.parent.mkdir(parents=True, exist_ok=True)
    write_text(out, json.dumps(kept, ensure_ascii=False, indent=1, allow_nan=False) + "\n")


def read_list(out: Path) -> list[dict[str, Any]]:
    """Return the list of records in ``out``; none if there is no such file."""
    records: list[dict[str, Any]] = json.loads(out.read_text(encoding="utf-8")) if out.exists() else []
    return records


def read_epochs(run: str | Path) -> list[dict[str, Any]]:
    """Return what a run recorded of each epoch of its training."""
    lines = (Path(run) / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]
