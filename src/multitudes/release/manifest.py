"""``manifest.json``: the description of a release, with a checksum of every file in it."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import Field, ValidationError

from multitudes.atomic import read_json
from multitudes.config import C, Config, parse
from multitudes.errors import ArtefactError, UsageError
from multitudes.index.files import checksum, record_checksum

FORMAT: Final = "multitudes-release"
FORMAT_VERSION: Final = 2
MANIFEST = "manifest.json"
_OWN_CHECKSUM: Final = "xxh3"
_FILE_NAME: Final = re.compile(r"(index/)?\w[\w.-]*")
_REPAIR = "roll back to another version, or publish the run again"


class FileEntry(Config):
    """Size and checksum of a file."""

    xxh3: str
    bytes: int


class NewItems(Config):
    """How an item that is added after publishing gets its vector."""

    vectors: Literal["tower", "embedding", "run", "linear"] = Field(
        description="tower: from the item tower; embedding: the item's own column 'embedding'; run: only from another"
        " run, or linear: only from the users of the training data, so no item can be added."
    )
    encoding: tuple[dict[str, Any], ...] = Field((), description="How feature columns become numbers.")
    content_width: int = Field(0, ge=0, description="Width of the column 'embedding'; 0: it is not used.")
    frozen: bool = Field(False, description="The tower serves the item's own embedding, so each item needs one.")


NO_NEW_ITEMS: Final = NewItems(vectors="run")  # of a release in memory


class Manifest(Config):
    """The description of a release. It is written last, so a folder without it is not a release."""

    format: Literal["multitudes-release"] = FORMAT
    version: Literal[2] = FORMAT_VERSION
    method: str = Field(description="Method of the run.")
    created_at: datetime = Field(default_factory=lambda: datetime.now(UTC).replace(microsecond=0))
    kinds: tuple[Literal["unconditioned", "implicit", "explicit"], ...] = Field(description="Kind of each user vector.")
    history_length: int = Field(ge=1, description="Events of a history that the user tower reads.")
    actions: tuple[str, ...] = Field(description="Names of the actions; the code of the first is 1.")
    default_action: int = Field(ge=1, description="Code of the action that is assumed for a history without actions.")
    negative_actions: tuple[str, ...] = Field((), description="Actions whose events are not used in a history.")
    ordered_only: bool = Field(description="The times are positions, so events have no ages.")
    counts: dict[str, int]
    retrieval: dict[str, Any] = Field(description="Defaults of section [retrieve].")
    index: dict[str, Any] = Field(description="Kind, size and tuning of the index.")
    pinnersage: dict[str, Any] | None = Field(
        None,
        description="Settings of the clustering that computes the user vectors. None: the user tower computes them.",
    )
    linear: dict[str, Any] | None = Field(None, description="Weights of the method linear.")
    neighbours: dict[str, Any] | None = Field(None, description="Weights of what own events propose; None: nothing.")
    repeats: dict[str, Any] | None = Field(
        None, description="Parameters of the repeat model. None: no user of the validation split returned to an item."
    )
    positive_actions: tuple[str, ...] = Field(
        (), description="Actions whose items are own items: of the sum, of the tastes, and of repeats."
    )
    new_items: NewItems = Field(NO_NEW_ITEMS, description="How an item that is added later gets its vector.")
    files: dict[str, FileEntry] = Field(default_factory=dict)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write ``manifest.json`` with the checksums of all files in ``folder``.

    The files of ``index/`` are listed in ``index/index.json``, which is listed here: every byte is covered once. The
    manifest has a checksum of its own content, because a changed history length would change answers unnoticed.
    """
    names = sorted(path.name for path in folder.iterdir() if path.is_file() and path.name != MANIFEST)
    names.append("index/index.json")
    files = {name: FileEntry(**checksum(folder / name)) for name in names}
    record = manifest.model_copy(update={"files": files}).model_dump(mode="json")
    text = json.dumps(record | {_OWN_CHECKSUM: record_checksum(record)}, indent=2, ensure_ascii=False)
    (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")


def read_manifest(folder: Path) -> Manifest:
    """Read ``manifest.json``.

    Raises:
        ArtefactError: it is missing, damaged, or of another format version.
    """
    path = folder / MANIFEST
    record = read_json(path, FORMAT, FORMAT_VERSION, _REPAIR)
    if record.pop(_OWN_CHECKSUM, None) != record_checksum(record):
        raise ArtefactError(f"{path}: damaged, or changed by hand; {_REPAIR}")
    try:
        manifest = Manifest.model_validate(record)
    except ValidationError as error:
        key = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise ArtefactError(f"{path}: '{key}' is wrong or missing; {_REPAIR}") from None
    for name in manifest.files:
        if not _FILE_NAME.fullmatch(name):
            raise ArtefactError(f"{path}: names the file {name!r:.80}; expected files of this release; {_REPAIR}")
    return manifest


def read_settings(model: type[C], values: dict[str, Any], where: str) -> C:
    """Return published settings; ``where`` names their place in the error.

    Raises:
        ArtefactError: a key is unknown, or a value is wrong.
    """
    try:
        return parse(model, values, where)
    except UsageError as error:
        raise ArtefactError(f"{error}; {_REPAIR}") from None
