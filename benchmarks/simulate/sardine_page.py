"""``python -m benchmarks.simulate.sardine_page records/simulated-world.md``: the record beside SARDINE, in the page."""

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from reference.markdown import replace_table

from benchmarks.machine import ROOT
from benchmarks.markdown import table

BEGIN = "<!-- sardine: written by `python -m benchmarks.simulate.sardine_page records/simulated-world.md` -->"
RESULTS = ROOT / "benchmarks" / "results" / "sardine.json"
_HEADS = {
    "positions": "random lists, by place; the first place: 1",
    "repeats": "what is wanted most, list after list; the first: 1",
}


def written_into(page: str, record: Mapping[str, Any]) -> str:
    """Return a page with the tables between their markers."""
    return replace_table(BEGIN, "\n".join(tables(record)).strip(), page)


def tables(record: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines."""
    found = record["figures"]
    for name, head in _HEADS.items():
        numbers = [str(1 + number) for number in range(len(found[name]["SARDINE"]))]
        yield from table([head, *numbers], _rows({who: dict(enumerate(one)) for who, one in found[name].items()}))
    orders = found["orders"]
    yield from table(["ten items; by chance: 1", *orders["SARDINE"]], _rows(orders))


def _rows(found: Mapping[str, Mapping[Any, float]]) -> Iterator[list[str]]:
    for who, shares in found.items():
        yield [who, *(f"{share:.2f}" for share in shares.values())]


if __name__ == "__main__":
    file = Path(sys.argv[1])
    kept = json.loads(RESULTS.read_text(encoding="utf-8"))
    file.write_text(written_into(file.read_text(encoding="utf-8"), kept), encoding="utf-8")
