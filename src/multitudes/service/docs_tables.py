"""``python -m multitudes.service.docs_tables PAGE``: the tables of settings and metrics in the docs, from the code."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from multitudes.service.settings import ENVIRONMENT_PREFIX, ServeConfig

if TYPE_CHECKING:
    from prometheus_client.metrics import MetricWrapperBase

SETTINGS_BEGIN: Final = (
    "<!-- settings: written by `python -m multitudes.service.docs_tables docs/service-settings.md` -->"
)
METRICS_BEGIN: Final = "<!-- metrics: written by `python -m multitudes.service.docs_tables docs/observe.md` -->"
END: Final = "<!-- end -->"


def replace_table(begin: str, table: str, page: str) -> str:
    """Return a page with ``table`` between the mark ``begin`` and the next end mark."""
    before, _, rest = page.partition(begin)
    return f"{before}{begin}\n\n{table}\n\n{END}{rest.partition(END)[2]}"


def update_settings(page: str) -> str:
    """Return a page with the table of settings between its marks."""
    return replace_table(SETTINGS_BEGIN, settings_table(), page)


def update_metrics(page: str) -> str:
    """Return a page with the table of metrics between its marks."""
    return replace_table(METRICS_BEGIN, metrics_table(), page)


def settings_table() -> str:
    """Return the table of settings."""
    return "\n".join(["| setting | environment | default | meaning |", "|---|---|---|---|", *_settings_rows()])


def metrics_table() -> str:
    """Return the table of metrics."""
    return "\n".join(["| metric | kind | labels | meaning |", "|---|---|---|---|", *_metrics_rows()])


def labels_by_name() -> dict[str, tuple[str, ...]]:
    """Return the labels of every time series by its name, as an expression may use them."""
    return {name: labels for family in _families() for name, labels in _series(family)}


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


def _metrics_rows() -> Iterator[str]:
    for family in _families():
        [metric], name = list(family.collect()), _series(family)[0][0].removesuffix("_bucket")
        labels = ", ".join(f"`{label}`" for label in family._labelnames)
        yield f"| `{name}` | {metric.type} | {labels} | {metric.documentation} |"


def _families() -> "list[MetricWrapperBase]":
    # Imported here: pages of benchmarks use ``replace_table`` without the packages of the service.
    from prometheus_client import CollectorRegistry  # noqa: PLC0415
    from prometheus_client.metrics import MetricWrapperBase  # noqa: PLC0415

    from multitudes.service.metrics import MetricFamilies  # noqa: PLC0415

    families = vars(MetricFamilies(CollectorRegistry())).values()
    return [family for family in families if isinstance(family, MetricWrapperBase)]


def _series(family: "MetricWrapperBase") -> list[tuple[str, tuple[str, ...]]]:
    [metric], labels = list(family.collect()), tuple(family._labelnames)
    if metric.type == "counter":
        return [(f"{metric.name}_total", labels)]
    if metric.type == "histogram":
        return [
            (f"{metric.name}_bucket", (*labels, "le")),
            *((f"{metric.name}_{end}", labels) for end in ("sum", "count")),
        ]
    return [(metric.name, labels)]


if __name__ == "__main__":
    file = Path(sys.argv[1])
    text = file.read_text(encoding="utf-8")
    text = update_settings(text) if SETTINGS_BEGIN in text else text
    text = update_metrics(text) if METRICS_BEGIN in text else text
    file.write_text(text, encoding="utf-8")
