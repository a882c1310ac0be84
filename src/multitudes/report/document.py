"""One HTML file around a body: its styles within it, no script, no outside request."""

from html import escape
from importlib.resources import files


def document(title: str, body: str, *styles: str) -> str:
    """Return the page.

    Args:
        title: as text.
        body: as HTML.
        styles: more files of this room, after page.css.
    """
    room = files("multitudes.report")
    style = "".join(room.joinpath(name).read_text(encoding="utf-8") for name in ("page.css", *styles))
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n<main>\n"
        f"{body}\n</main>\n</body>\n</html>\n"
    )
