"""The tables of settings and metrics of the service, within pages that are written by hand."""

from collections.abc import Iterator
from typing import Final

from prometheus_client.metrics import MetricWrapperBase

from multitudes.service.metrics import Metrics
from multitudes.service.settings import ServeConfig, environment_names
from reference.markdown import DOCS, replace_table, table

_SETTINGS: Final = "<!-- settings: written by `python -m reference` -->"
_METRICS: Final = "<!-- metrics: written by `python -m reference` -->"


def pages() -> dict[str, str]:
    """Return both pages with their tables."""
    settings = table(["setting", "environment", "default", "meaning"], _settings_rows())
    metrics = table(["metric", "kind", "labels", "meaning"], _metrics_rows())
    return {
        name: replace_table(mark, text, (DOCS / name).read_text(encoding="utf-8"))
        for name, mark, text in (
            ("service-settings.md", _SETTINGS, settings),
            ("observe.md", _METRICS, metrics),
        )
    }


def labels_by_name() -> dict[str, tuple[str, ...]]:
    """Return the labels of every time series by its name, as an expression may use them."""
    return {name: labels for family in _families() for name, labels in _series(family)}


def _settings_rows() -> Iterator[list[str]]:
    for variable, (section, key) in environment_names().items():
        setting = type(ServeConfig.model_fields[section].default).model_fields[key]
        default, text = setting.default, (setting.description or "").removesuffix(".")
        shown = "" if default is None else f"`{default if isinstance(default, str) else str(default).lower()}`"
        yield [f"`[{section}] {key}`", f"`{variable}`", shown, f"{text[:1].upper()}{text[1:]}."]


def _metrics_rows() -> Iterator[list[str]]:
    for family in _families():
        [metric], name = list(family.collect()), _series(family)[0][0].removesuffix("_bucket")
        labels = ", ".join(f"`{label}`" for label in family._labelnames)
        yield [f"`{name}`", metric.type, labels, metric.documentation]


def _families() -> list[MetricWrapperBase]:
    families = vars(Metrics()).values()
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
