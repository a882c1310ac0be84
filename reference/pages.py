"""All reference pages by their place below docs/."""

from multitudes.service import docs_tables
from reference import commands, files, http, python, settings
from reference.markdown import DOCS


def pages() -> dict[str, str]:
    """Return the text of every page that is written from the code, or has a table that is."""
    service_settings, observe = (
        (DOCS / name).read_text(encoding="utf-8") for name in ("service-settings.md", "observe.md")
    )
    return {
        **commands.pages(),
        **settings.pages(),
        **python.pages(),
        **http.pages(),
        **files.pages(),
        "service-settings.md": docs_tables.update_settings(service_settings),
        "observe.md": docs_tables.update_metrics(observe),
    }
