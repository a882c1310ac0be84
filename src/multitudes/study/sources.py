"""The data of a study: prepared once, and refused when the tables changed under it."""

from pathlib import Path
from typing import Any

from multitudes.data.address import place, shown
from multitudes.data.digest import sha256
from multitudes.data.prepare import prepare
from multitudes.data.prepared import Prepared
from multitudes.data.sample import sample_path
from multitudes.errors import ArtefactError, DataError
from multitudes.progress import Progress, silent
from multitudes.study.config import DataConfig

_NEVER_MATTERS = {"memory_limit", "threads"}  # to the result


def prepared(name: str, data: DataConfig, folder: Path, progress: Progress = silent) -> Prepared:
    """Return the data set ``name``, prepared in ``folder`` unless it is there already.

    Raises:
        DataError: the tables are not those that it was prepared from.
    """
    tables = data.tables if data.tables is not None else sample_path(str(data.sample))
    try:
        found = Prepared.open(folder)
    except ArtefactError:
        return prepare(tables, folder, data.prepare, progress, overwrite=folder.exists())
    if not _as_asked(found.manifest, data):
        return prepare(tables, folder, data.prepare, progress, overwrite=True)
    _check_unchanged(name, tables, found.manifest["inputs"])
    return found


def _as_asked(manifest: dict[str, Any], data: DataConfig) -> bool:
    settings: dict[str, Any] = data.prepare.model_dump(mode="json", exclude=_NEVER_MATTERS)
    return bool(manifest["config"] == settings)


def _check_unchanged(name: str, tables: Path, inputs: dict[str, dict[str, Any]]) -> None:
    for file, known in inputs.items():
        try:
            digest = sha256(place(tables) / file)
        except FileNotFoundError:
            digest = ""
        if digest != known["sha256"]:
            what = "changed" if digest else "is gone"
            raise DataError(
                f"{name}: {shown(tables / file)} {what} since this study began, so its results would not belong"
                " together; put the old file back, or write the study into another folder with --out"
            )
