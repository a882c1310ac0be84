"""The pages of the file formats, from the docstrings and declarations of what reads and writes them."""

import inspect
import re
from collections.abc import Mapping
from importlib import import_module

from multitudes.data.schemas import COLUMN_ROLES, REQUIRED_COLUMNS, short_expectation
from multitudes.logs.schemas import IdTypes, LogName, segment_columns
from multitudes.release.manifest import Manifest
from reference.markdown import from_docstring, page, summary, table
from reference.settings import type_text

_FRONT = """\
The tables that the library reads and writes, and the logs of a service. [data.md](data.md) says how tables are checked
and repaired, [folders.md](folders.md) what is in the folders that the library makes.
"""
_FOLDERS_FRONT = """\
What is in the folders that the library makes. All formats are open: Parquet, JSON, JSON lines, NumPy arrays (`.npy`),
safetensors, ONNX and the file of FAISS; nothing is pickled. A folder appears complete or not at all, its files have
checksums, and a folder of another format version is rejected by its name.
"""
_TABLES: Mapping[str, str] = {
    "events": "What users did: the only table that `prepare` needs.",
    "items": "The items with their topics.",
    "users": "What users follow.",
    "served": "What a service served, given to `prepare --served`.",
    "item_ids": "Items to remove from a release: `multitudes items remove`.",
    "exposures": "The arm of each user of an experiment.",
    "outcomes": "What users of an experiment did.",
}
_FOLDERS = {
    "Prepared folder": "data.prepared",
    "Folder of releases": "release.store",
    "Release": "release.release",
    "Item updates": "release.delta_log",
    "Run of `linear`": "linear.run",
    "Run of `pinnersage`": "pinnersage.run",
    "Combined run": "training.combined",
    "Study": "study.cells",
}


def pages() -> dict[str, str]:
    """Return the pages."""
    tables = [f"### {name}\n\n{meaning}\n\n{_columns(name)}" for name, meaning in _TABLES.items()]
    folders = [f"## {title}\n\n{_docstring(module)}" for title, module in _FOLDERS.items()]
    log = f"## Logs of a service\n\n{_docstring('logs.folder')}"
    results = f"## Results of batch inference\n\n{_docstring('batch_inference.results')}"
    return {
        "files.md": page("Files", _FRONT, "## Tables", *tables, log, _segments(), results),
        "folders.md": page("Folders", _FOLDERS_FRONT, *folders, _manifest()),
    }


def _columns(name: str) -> str:
    rows = [
        [f"`{column}`", short_expectation(role), "yes" if column in REQUIRED_COLUMNS[name] else ""]
        for column, role in COLUMN_ROLES[name].items()
    ]
    return table(["column", "type", "required"], rows)


def _docstring(module: str) -> str:
    text = inspect.getdoc(import_module(f"multitudes.{module}")) or ""
    return re.sub(r"^#+ ", "", from_docstring(text))


def _manifest() -> str:
    fields = Manifest.model_fields.items()
    rows = [[f"`{name}`", type_text(field.annotation), field.description or ""] for name, field in fields]
    return f"## Manifest of a release\n\n{summary(Manifest)}\n\n{table(['key', 'type', 'meaning'], rows)}"


def _segments() -> str:
    logs: dict[LogName, str] = {
        "served": "A row for each candidate of each answer.",
        "events": "A row for each event; the folder can be read as an events table.",
    }
    tables = []
    for log, meaning in logs.items():
        columns = segment_columns(log, IdTypes("string", "string"))
        rows = [
            [f"`{name}`", "as in the data" if name in ("user_id", "item_id") else str(kind)]
            for name, kind in columns.items()
        ]
        tables.append(f"### Segments of {log}\n\n{meaning}\n\n{table(['column', 'type'], rows)}")
    return "\n\n".join(tables)
