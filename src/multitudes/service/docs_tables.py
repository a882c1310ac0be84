"""``python -m multitudes.service.docs_tables PAGE``: the settings of docs/service.md as a table, from their code.

``python -m multitudes.service.docs_tables docs/observe.md``: its table of metrics, written from the families.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase

from multitudes.service.metric_families import MetricFamilies
from multitudes.service.settings import ENVIRONMENT_PREFIX, ServeConfig

SETTINGS_BEGIN: Final = "<!-- settings: written by `python -m multitudes.service.docs_tables docs/service.md` -->"
END: Final = "<!-- end -->"


def settings_table() -> str:
    """Return the table."""
    return "\n".join(["| setting | environment | default | meaning |", "|---|---|---|---|", *_settings_rows()])


def update_settings(page: str) -> str:
    """Return a page with the table between its marks."""
    return replace_table(SETTINGS_BEGIN, settings_table(), page)


def replace_table(begin: str, table: str, page: str) -> str:
    """Return a page with a table between ``begin`` and the next end."""
    before, _, rest = page.partition(begin)
    return f"{before}{begin}\n\n{table}\n\n{END}{rest.partition(END)[2]}"


def _settings_rows() -> Iterator[str]:
    for section, field in ServeConfig.model_fields.items():
        for key, setting in type(field.default).model_fields.items():
            default = "" if setting.default is None else f"`{str(setting.default).lower()}`"
            if isinstance(setting.default, str):
                default = f"`{setting.default}`"
            meaning = (setting.description or "").strip()
            meaning = meaning[0].upper() + meaning[1:].removesuffix(".") + "."
            name = f"{ENVIRONMENT_PREFIX}{section}_{key}".upper()
            yield f"| `[{section}] {key}` | `{name}` | {default} | {meaning} |"


if __name__ == "__main__":
    page = Path(sys.argv[1])
    page.write_text(update_settings(page.read_text(encoding="utf-8")), encoding="utf-8")


METRICS_BEGIN: Final = "<!-- metrics: written by `python -m multitudes.service.docs_tables docs/observe.md` -->"


def metrics_table() -> str:
    """Return the table."""
    return "\n".join(["| metric | kind | labels | meaning |", "|---|---|---|---|", *_metrics_rows()])


def update_metrics(page: str) -> str:
    """Return a page with the table between its marks."""
    return replace_table(METRICS_BEGIN, metrics_table(), page)


def labels_by_name() -> dict[str, tuple[str, ...]]:
    """Return the labels of every series by its name, as an expression may use them."""
    return {name: labels for family in _families() for name, labels in _series(family)}


def _families() -> list[MetricWrapperBase]:
    families = vars(MetricFamilies(CollectorRegistry())).values()
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


def _metrics_rows() -> Iterator[str]:
    for family in _families():
        [metric], name = list(family.collect()), _series(family)[0][0].removesuffix("_bucket")
        labels = ", ".join(f"`{label}`" for label in family._labelnames)
        yield f"| `{name}` | {metric.type} | {labels} | {metric.documentation} |"


if __name__ == "__main__":
    _metrics_page = Path(sys.argv[1])
    _metrics_page.write_text(update_metrics(_metrics_page.read_text(encoding="utf-8")), encoding="utf-8")
