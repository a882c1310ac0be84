"""``python -m reference``: write the reference pages."""

from reference.markdown import DOCS
from reference.pages import pages

if __name__ == "__main__":
    for name, text in pages().items():
        file = DOCS / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text, encoding="utf-8")
