"""Files of a release are damaged: a bit is turned, the end is cut off, one file is taken for another.

Each time the release is refused, or answers exactly as before. The control opens the same files without looking at the
checksums.
"""

import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Literal, NamedTuple
from unittest.mock import patch

import numpy as np

from multitudes.errors import ArtefactError
from multitudes.ids import Id
from multitudes.progress import Progress
from multitudes.retrieval.request import Request
from multitudes.retrieval.retriever import Retriever
from multitudes.seeding import generator
from reliability.claims import TrialResult, at_most, at_scale
from reliability.world import World, publish_world

Outcome = Literal["refused", "unchanged", "changed", "failed"]
Answers = list[list[tuple[Id, float]]]
_HARMLESS: tuple[Outcome, ...] = ("refused", "unchanged")


class Damage(NamedTuple):
    """What is done to one file."""

    name: str
    do: Callable[[bytes, np.random.Generator, Sequence[Path]], bytes]


def turn_bit(content: bytes, draw: np.random.Generator, others: Sequence[Path]) -> bytes:
    """Turn one bit."""
    del others
    place = int(draw.integers(len(content)))
    return content[:place] + bytes([content[place] ^ (1 << int(draw.integers(8)))]) + content[place + 1 :]


def cut_end(content: bytes, draw: np.random.Generator, others: Sequence[Path]) -> bytes:
    """Cut off the end."""
    del others
    return content[: int(draw.integers(len(content)))]


def swap_file(content: bytes, draw: np.random.Generator, others: Sequence[Path]) -> bytes:
    """Take another file in its place."""
    found = (others[place].read_bytes() for place in draw.permutation(len(others)))
    different: bytes = next(other for other in found if other != content)
    return different


_DAMAGES = (Damage("bit turned", turn_bit), Damage("end cut off", cut_end), Damage("another file", swap_file))


def trial(scale: float, folder: Path, progress: Progress) -> TrialResult:
    """Damage one file after another, open the release, and mend it."""
    world, times = World(items=100, users=20, topics=4, width=8), at_scale(2_000, scale, 30)
    release = folder / "releases" / "versions" / publish_world(folder / "releases", world=world)
    checked = _damage_files(release, times, progress, check=True)
    unchecked = _damage_files(release, max(200, times // 10), progress, check=False)
    said = "opened without checksums"
    harm, harm_unchecked = (sum(_harmful(one).values()) / sum(one.values()) for one in (checked, unchecked))
    return TrialResult(
        [at_most(0, "share of damages that change an answer or make it fail", harm, said, harm_unchecked)],
        {"damages": times, "files": len(_files(release)), "outcomes": _table(checked), "control": _table(unchecked)},
    )


def _damage_files(release: Path, times: int, progress: Progress, *, check: bool) -> Counter[tuple[str, Outcome]]:
    """Damage every file in turn; each fourth time one of those that say what the others are."""
    files, expected = _files(release), _answers(release)
    said = [file for file in files if file.suffix == ".json"]
    draw, outcomes = generator(0, "damage"), Counter[tuple[str, Outcome]]()
    for number in range(times):
        damage = _DAMAGES[number % len(_DAMAGES)]
        file = said[number // 12 % len(said)] if number % 4 == 0 else files[number % len(files)]
        whole = file.read_bytes()
        file.write_bytes(damage.do(whole, draw, [other for other in files if other != file]))
        with nullcontext() if check else _without_checks():
            outcome = _outcome(release, expected)
        outcomes[damage.name, outcome] += 1
        if check and outcome not in _HARMLESS:
            shutil.copy(file, release.parent.parent / f"harmful-{number}-{file.name}")  # to be looked at
        file.write_bytes(whole)
        if number % 50 == 49:
            progress(number + 1, times, f"{sum(_harmful(outcomes).values())} harmful")
    return outcomes


def _outcome(release: Path, expected: Answers) -> Outcome:
    try:
        return "unchanged" if _answers(release) == expected else "changed"
    except ArtefactError:
        return "refused"
    except Exception:  # whatever a reader makes of it: it is no refusal that tells what to do
        return "failed"


def _answers(release: Path) -> Answers:
    """Open a release and ask it for everybody."""
    retriever = Retriever.open(release)
    asks = [Request(user_id=user, n=10) for user in retriever.release.user_ids]
    return [[(one.item_id, one.score) for one in answer.candidates] for answer in retriever.answer(asks)]


@contextmanager
def _without_checks() -> Iterator[None]:
    """Open files without looking at their checksums."""
    with patch("multitudes.index.files.verify"):
        yield


def _files(release: Path) -> list[Path]:
    return sorted(file for file in release.rglob("*") if file.is_file() and file.stat().st_size)


def _harmful(outcomes: Counter[tuple[str, Outcome]]) -> dict[tuple[str, Outcome], int]:
    return {key: times for key, times in outcomes.items() if key[1] not in _HARMLESS}


def _table(outcomes: Counter[tuple[str, Outcome]]) -> dict[str, int]:
    return {f"{damage}: {outcome}": times for (damage, outcome), times in sorted(outcomes.items())}
