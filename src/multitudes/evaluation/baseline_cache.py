"""Tuned settings and lists of the fitted baselines, kept beside the prepared data that they belong to.

::

    PREPARED/baselines/<digest>.json   settings and trials of a baseline
                       <digest>.npz    lists of a baseline for the users of an evaluation

A digest covers the data and everything that the content depends on. Files appear complete or not at all; what cannot be
read or written is computed again.
"""

import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, get_args
from zipfile import BadZipFile

import numpy as np
import xxhash
from numpy.typing import NDArray

from multitudes.atomic import replace_file, write_json
from multitudes.data.prepared import PreparedData
from multitudes.evaluation.targets import TargetKind

FOLDER = "baselines"
_VERSION = 1  # raise it where the same key gives another content
# What the models, their histories and the targets of the tuning are made of.
_ARRAYS = ("event_offset", "event_item", "event_split", "event_weight", "event_after_follows", "item_count")

Key = Sequence[Any]  # JSON values and arrays


class BaselineCache(NamedTuple):
    """The cache of one prepared data set."""

    folder: Path
    data_digest: str

    @classmethod
    def of(cls, prepared: PreparedData) -> "BaselineCache":
        """Return the cache of a data set; nothing is written yet."""
        digest = xxhash.xxh3_128()
        for name in _ARRAYS:
            digest.update(np.ascontiguousarray(getattr(prepared, name)).data)
        return cls(prepared.path / FOLDER, digest.hexdigest())

    def read_record(self, key: Key) -> dict[str, Any] | None:
        """Return the record of a key; None: there is none."""
        with suppress(OSError, ValueError):
            record: dict[str, Any] = json.loads(self._file(key, "json").read_text(encoding="utf-8"))
            return record if isinstance(record, dict) and "settings" in record else None
        return None

    def write_record(self, key: Key, record: dict[str, Any]) -> None:
        """Keep a record, if the folder can be written."""
        with suppress(OSError):
            write_json(self._file(key, "json"), record)

    def read_lists(self, key: Key) -> dict[TargetKind, NDArray[np.int64]] | None:
        """Return the lists of a key, by kind of targets; None: there are none."""
        try:
            with np.load(self._file(key, "npz"), allow_pickle=False) as file:
                return {kind: file[kind].astype(np.int64) for kind in get_args(TargetKind) if kind in file}
        except (OSError, ValueError, EOFError, BadZipFile):
            return None

    def write_lists(self, key: Key, lists: dict[TargetKind, NDArray[np.int64]]) -> None:
        """Keep lists, if the folder can be written, in the smallest type that holds the items."""
        largest = max((int(items.max(initial=0)) for items in lists.values()), default=0)
        small = {str(kind): items.astype(np.min_scalar_type(largest)) for kind, items in lists.items()}
        with suppress(OSError), replace_file(self._file(key, "npz"), shared=True) as partial, partial.open("wb") as out:
            np.savez(out, **small)  # type: ignore[arg-type]

    def _file(self, key: Key, suffix: str) -> Path:
        digest = xxhash.xxh3_128(f"{_VERSION} {self.data_digest}".encode())
        for part in key:
            is_array = isinstance(part, np.ndarray)
            digest.update(np.ascontiguousarray(part).data if is_array else json.dumps(part, sort_keys=True).encode())
            digest.update(b"\0")
        return self.folder / f"{digest.hexdigest()}.{suffix}"
