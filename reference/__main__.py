"""``python -m reference``: write the reference pages."""

from pathlib import Path

from reference.pages import pages

DOCS = Path(__file__).parents[1] / "docs"

if __name__ == "__main__":
    for name, text in pages().items():
        file = DOCS / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text, encoding="utf-8")
