"""All reference pages by their place below docs/."""

from reference import commands, files, http, python, service, settings


def pages() -> dict[str, str]:
    """Return the text of every page that is written from the code, or has a table that is."""
    return {
        **commands.pages(),
        **settings.pages(),
        **python.pages(),
        **http.pages(),
        **files.pages(),
        **service.pages(),
    }
