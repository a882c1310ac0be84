"""``python -m multitudes.service.settings_table PAGE``: the settings of docs/service.md as a table, from their code."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from multitudes.service.settings import PREFIX, ServeConfig

BEGIN: Final = "<!-- settings: written by `python -m multitudes.service.settings_table docs/service.md` -->"
END: Final = "<!-- end -->"


def table() -> str:
    """Return the table."""
    return "\n".join(["| setting | environment | default | meaning |", "|---|---|---|---|", *_rows()])


def written_into(page: str) -> str:
    """Return a page with the table between its marks."""
    return between(BEGIN, table(), page)


def between(begin: str, table: str, page: str) -> str:
    """Return a page with a table between ``begin`` and the next end."""
    before, _, rest = page.partition(begin)
    return f"{before}{begin}\n\n{table}\n\n{END}{rest.partition(END)[2]}"


def _rows() -> Iterator[str]:
    for section, field in ServeConfig.model_fields.items():
        for key, setting in type(field.default).model_fields.items():
            default = "" if setting.default is None else f"`{str(setting.default).lower()}`"
            if isinstance(setting.default, str):
                default = f"`{setting.default}`"
            meaning = (setting.description or "").strip()
            meaning = meaning[0].upper() + meaning[1:].removesuffix(".") + "."
            name = f"{PREFIX}{section}_{key}".upper()
            yield f"| `[{section}] {key}` | `{name}` | {default} | {meaning} |"


if __name__ == "__main__":
    page = Path(sys.argv[1])
    page.write_text(written_into(page.read_text(encoding="utf-8")), encoding="utf-8")
