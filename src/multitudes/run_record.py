"""The records of a run: run.json (settings, data, versions, outcome) and metrics.jsonl (a line for each epoch)."""

import contextlib
import hashlib
import json
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, ClassVar, Generic, NamedTuple

import numpy as np
from numpy.typing import NDArray

from multitudes import __version__
from multitudes.atomic import read_json, write_text
from multitudes.config import C, Config, parse
from multitudes.data.prepared import PreparedData
from multitudes.errors import ArtefactError, UsageError
from multitudes.nn.methods import Partition

FORMAT = "multitudes-run"
FORMAT_VERSION = 1


def new_record(prepared: PreparedData, settings: dict[str, Any]) -> dict[str, Any]:
    """Return the record of a new run: settings, data, versions."""
    return {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "finished": False,
        "prepared": str(prepared.path.resolve()),
        "prepared_digest": data_digest(prepared),
        "config": settings,
        "versions": {"multitudes": __version__, **installed_versions("torch", "numpy")},
    }


def installed_versions(*packages: str) -> dict[str, str]:
    """Return the versions of the installed packages; torch may be missing, since PinnerSage does not need it."""
    found = {}
    for package in packages:
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def needs_making(out: Path, record: dict[str, Any], *, resume: bool, overwrite: bool) -> bool:
    """Check that a run that appears at once may be written to ``out``; return False if it is there already.

    ``resume`` accepts ``out`` if it is a run of this record; ``overwrite`` if it is any run, which is then replaced.

    Raises:
        UsageError: ``out`` exists, and neither setting accepts it.
        ArtefactError: ``out`` should be replaced and is not a run.
    """
    if not out.exists():
        return True
    if resume:
        found = read_record(out)
        if all(record[key] == found[key] for key in ("config", "prepared_digest")):
            return False
    if not overwrite:
        raise UsageError(f"{out}: exists; give another --out, or replace it with --overwrite")
    read_record(out)  # raises if the folder is not a run: only a run may be deleted
    return True


def write_record(out: Path, record: dict[str, object]) -> None:
    """Write run.json; it appears complete or not at all."""
    write_text(out / "run.json", json.dumps(record, indent=1, sort_keys=True))


def append_metrics(file: Path, record: dict[str, object]) -> None:
    """Append the line of an epoch; replace a line of the same epoch that a killed process left behind.

    Raises:
        ArtefactError: the file is damaged.
    """
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    try:
        earlier = [line for line in lines if json.loads(line)["epoch"] < record["epoch"]]
    except (ValueError, KeyError, TypeError):
        raise ArtefactError(f"{file}: damaged; train again with --overwrite") from None
    write_text(file, "\n".join([*earlier, json.dumps(record)]) + "\n")


def read_record(folder: Path) -> dict[str, Any]:
    """Read run.json.

    Raises:
        ArtefactError: the file is missing, damaged or of another version.
    """
    missing = f"{folder}: no run here (run.json is missing); make one with: multitudes train"
    repair = f"delete {folder} and train again"
    record = read_json(folder / "run.json", FORMAT, FORMAT_VERSION, repair, missing)
    if not {"config", "finished", "prepared", "prepared_digest"} <= record.keys():
        raise ArtefactError(f"{folder}/run.json: damaged; {repair}")
    return record


def parse_config(model: type[C], record: dict[str, Any], folder: Path) -> C:
    """Return the settings of a run.

    Raises:
        UsageError: a key is unknown or a value has the wrong type or range.
    """
    return parse(model, record["config"], f"{folder}/run.json")


def open_prepared(record: dict[str, Any], folder: Path, moved_to: str | Path | None = None) -> PreparedData:
    """Open the prepared data of the run in ``folder``; ``moved_to`` is where the data is now, if it was moved.

    Raises:
        ArtefactError: the data is missing, or is not the data of the run.
    """
    data = PreparedData.open(moved_to or record["prepared"])
    if data_digest(data) != record["prepared_digest"]:
        raise ArtefactError(
            f"{folder}: {data.path} changed since this run was trained on it; train again with --overwrite"
        )
    return data


class ListDefaults(NamedTuple):
    """How the lists of a run are made, where the settings of retrieval leave it open."""

    shares: Mapping[str, float]  # of the list by kind of vector; empty: as of every run
    blend: str = "fusion"
    calibration: float | None = None  # part of the list that is divided among tastes; None: as of every run


class WithoutEvents(Config):
    """Settings of a model whose vectors read no events of a history."""

    @property
    def history(self) -> int:
        """Number of events that a release keeps of a user."""
        return 1


class UntrainedRun(Generic[C]):
    """Item vectors with their prepared data, as evaluation and publishing use them; a ``Scorer`` without torch."""

    list_defaults: ClassVar[ListDefaults]  # nothing is divided among tastes
    controls: tuple[Partition, ...] = ()  # there are no interests
    neighbours: Any = None  # a ``linear.neighbours.NeighbourSource``: what own events propose beside the vectors

    def __init__(self, path: Path, prepared: PreparedData, config: C, vectors_ID: NDArray[np.float32]) -> None:
        self.path, self.prepared, self.config = path, prepared, config
        self._vectors_ID = vectors_ID

    def item_inputs(self) -> NDArray[np.float32]:
        """Return the input of every item for a user tower: none, shape (I + 1, 0)."""
        return np.zeros((self.prepared.n_items + 1, 0), dtype=np.float32)

    def item_vectors(self) -> NDArray[np.float32]:
        """Return the vector of every item (I + 1, D); an item with a zero vector is never a candidate."""
        return self._vectors_ID


def open_untrained(
    model: type[C], path: str | Path, prepared: str | Path | None = None
) -> tuple[Path, PreparedData, C]:
    """Open the folder, the data and the settings of an untrained run; see ``training.runs.open_run``."""
    folder = Path(path)
    record = read_record(folder)
    return folder, open_prepared(record, folder, prepared), parse_config(model, record, folder)


def data_digest(prepared: PreparedData) -> str:
    """Return the digest of the prepared data: of its manifest, which holds the input's checksums and all settings."""
    return hashlib.sha256((prepared.path / "manifest.json").read_bytes()).hexdigest()
