"""``python -m multitudes.service.metrics_table docs/observe.md``: its table of metrics, written from the families."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase

from multitudes.service.families import Families
from multitudes.service.settings_table import between

BEGIN: Final = "<!-- metrics: written by `python -m multitudes.service.metrics_table docs/observe.md` -->"


def table() -> str:
    """Return the table."""
    return "\n".join(["| metric | kind | labels | meaning |", "|---|---|---|---|", *_rows()])


def written_into(page: str) -> str:
    """Return a page with the table between its marks."""
    return between(BEGIN, table(), page)


def labels_by_name() -> dict[str, tuple[str, ...]]:
    """Return the labels of every series by its name, as an expression may use them."""
    return {name: labels for family in _families() for name, labels in _series(family)}


def _families() -> list[MetricWrapperBase]:
    families = vars(Families(CollectorRegistry())).values()
    return [family for family in families if isinstance(family, MetricWrapperBase)]


def _series(family: MetricWrapperBase) -> list[tuple[str, tuple[str, ...]]]:
    [metric], labels = list(family.collect()), tuple(family._labelnames)
    if metric.type == "counter":
        return [(f"{metric.name}_total", labels)]
    if metric.type == "histogram":
        return [
            (f"{metric.name}_bucket", (*labels, "le")),
            *((f"{metric.name}_{end}", labels) for end in ("sum", "count")),
        ]
    return [(metric.name, labels)]


def _rows() -> Iterator[str]:
    for family in _families():
        [metric], name = list(family.collect()), _series(family)[0][0].removesuffix("_bucket")
        labels = ", ".join(f"`{label}`" for label in family._labelnames)
        yield f"| `{name}` | {metric.type} | {labels} | {metric.documentation} |"


if __name__ == "__main__":
    page = Path(sys.argv[1])
    page.write_text(written_into(page.read_text(encoding="utf-8")), encoding="utf-8")
