"""How much of a log is kept: by age, and by what it may take of the disk."""

import logging
from pathlib import Path
from typing import NamedTuple

from multitudes.logs import folder as places

_DAY_S = 86_400
_BORN_WITHIN_S = 60.0  # a spool gets its name within moments


class Removed(NamedTuple):
    """Parts that went."""

    expired: int = 0  # older than what is kept
    crowded_out: int = 0  # younger, but there was no more room


def retain(folder: Path, now_s: float, keep_days: float, most_bytes: int) -> Removed:
    """Remove the parts that were begun more than ``keep_days`` ago, then the oldest until the log fits.

    Only for who holds ``folder.changing``. 0 as a bound is none.
    """
    for empty in places.unnamed(folder):
        if places.begun_s(empty) < now_s - _BORN_WITHIN_S:
            empty.unlink(missing_ok=True)
    parts = places.parts(folder)
    old = [part for part in parts if keep_days and places.begun_s(part) < now_s - keep_days * _DAY_S]
    crowd = _crowd(parts[len(old) :], places.spools(folder), most_bytes)
    for part in (*old, *crowd):
        part.unlink(missing_ok=True)
    if crowd:
        logging.getLogger(__name__).warning(
            "%s: the log is larger than %.1f GB; removed its %d oldest parts, until %s",
            *(folder, most_bytes / 1e9, len(crowd), crowd[-1].name),
        )
    return Removed(len(old), len(crowd))


def _crowd(parts: list[Path], spools: list[Path], most_bytes: int) -> list[Path]:
    """Return the oldest parts that have to go so that the rest fits."""
    if not most_bytes:
        return []
    sizes = [part.stat().st_size for part in parts]
    excess = sum(sizes) + sum(spool.stat().st_size for spool in spools) - most_bytes
    crowd = []
    for part, size in zip(parts, sizes, strict=True):
        if excess <= 0:
            break
        crowd.append(part)
        excess -= size
    return crowd
