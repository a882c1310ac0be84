"""The files that this project and a peer exchange. It needs only NumPy, since both virtual environments import it.

::

    FOLDER/task.npz            events of training and of the held-out users' histories, oldest first
           targets.npz         the held-out users' targets, where training stops by them: see ``Settings.patience``
           settings.json       what every system trains with
           lists-007.npy       the best items of each held-out user after epoch 7, seen ones left out; zeros at the end
           report.json         targets and seconds of every epoch, peak memory, versions, why training stopped

Items are numbered from 1, 0 is padding; users from 0. Legend: B users · E events · L history · N places of a list.
"""

import json
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.process import peak_mib


class Settings(NamedTuple):
    """The same for every system. An epoch is one pass over the training events."""

    width: int = 64
    history: int = 50
    batch_size: int = 32  # histories, or pieces of them, of a step
    negatives: int = 256  # that each target is held against
    blocks: int = 1
    heads: int = 1
    interests: int = 4  # vectors of a user, where a method has several
    temperature: float = 0.02  # of a softmax over cosines
    dropout: float = 0.2
    learning_rate: float = 0.001
    epochs: int = 15  # at most
    cpu_s: float = 300.0  # of training, after which no epoch begins
    places: int = 100  # N
    seed: int = 0
    patience: int = 0  # epochs without a better hit rate on validation, after which training stops; 0: no such end


class Sequences(NamedTuple):
    """The known events of B users, flat: user b owns ``item[offset[b] : offset[b + 1]]``."""

    user: NDArray[np.int64]
    offset: NDArray[np.int64]
    item: NDArray[np.int64]

    def owners(self) -> NDArray[np.int64]:
        """Return the row of the user of each event (E)."""
        return np.repeat(np.arange(len(self.user)), np.diff(self.offset))

    def ranks(self) -> NDArray[np.int64]:
        """Return how many events of its user come before each event (E)."""
        return np.arange(len(self.item)) - np.repeat(self.offset[:-1], np.diff(self.offset))


class Task(NamedTuple):
    """What a system is given."""

    n_users: int
    n_items: int
    train: Sequences
    held: Sequences


def write_task(task: Task, settings: Settings, folder: Path) -> None:
    """Write what a peer reads."""
    train, held = task.train, task.held
    np.savez(
        folder / "task.npz",
        sizes=np.array([task.n_users, task.n_items]),
        train_user=train.user,
        train_offset=train.offset,
        train_item=train.item,
        held_user=held.user,
        held_offset=held.offset,
        held_item=held.item,
    )
    (folder / "settings.json").write_text(json.dumps(settings._asdict()), encoding="utf-8")


def read_task(folder: Path) -> tuple[Task, Settings]:
    """Read what ``write_task`` wrote."""
    with np.load(folder / "task.npz", allow_pickle=False) as arrays:
        n_users, n_items = (int(size) for size in arrays["sizes"])
        train, held = (
            Sequences(*(arrays[f"{part}_{name}"] for name in Sequences._fields)) for part in ("train", "held")
        )
    settings = Settings(**json.loads((folder / "settings.json").read_text(encoding="utf-8")))
    return Task(n_users, n_items, train, held), settings


def histories(
    item: NDArray[np.int64], start_M: NDArray[np.int64], end_M: NDArray[np.int64], length: int
) -> NDArray[np.int64]:
    """Return the newest ``length`` events from ``start`` to before ``end``, oldest first, zeros at the end (M, L)."""
    position_ML = np.maximum(start_M, end_M - length)[:, None] + np.arange(length)
    real_ML = position_ML < end_M[:, None]
    return np.where(real_ML, item[np.where(real_ML, position_ML, 0)], 0)


def write_targets(offset: NDArray[np.int64], item: NDArray[np.int64], folder: Path) -> None:
    """Write the targets of the held-out users, flat as ``Sequences`` are; a peer stops by them and trains on none."""
    np.savez(folder / "targets.npz", offset=offset, item=item)


def hit_rate(list_BN: NDArray[np.int64], offset: NDArray[np.int64], item: NDArray[np.int64]) -> float:
    """Return the share of the targets that are in the list of their user."""
    span = int(max(list_BN.max(initial=0), item.max(initial=0))) + 1
    listed = np.arange(len(list_BN))[:, None] * span + list_BN
    wanted = np.repeat(np.arange(len(list_BN)), np.diff(offset)) * span + item
    return float(np.isin(wanted, listed).mean())


class Clock:
    """Seconds by the wall and of the processor since ``start``."""

    def start(self) -> None:
        """Begin an epoch."""
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def read(self) -> tuple[float, float]:
        """Return the seconds since the start."""
        return time.perf_counter() - self._wall, time.process_time() - self._cpu


class Report:
    """The answer of a peer, kept after every epoch."""

    def __init__(self, folder: Path, packages: tuple[str, ...]) -> None:
        self._folder = folder
        self._report: dict[str, Any] = {"versions": {package: version(package) for package in packages}, "epochs": []}
        self._targets = None
        if (folder / "targets.npz").exists():
            with np.load(folder / "targets.npz", allow_pickle=False) as arrays:
                self._targets = arrays["offset"], arrays["item"]

    def epoch(self, targets: int, seconds: tuple[float, float], list_BN: NDArray[np.int64]) -> None:
        """Keep an epoch: the targets that it trained, its seconds (wall, processor), and the lists after it."""
        row = {"targets": targets, "wall_s": seconds[0], "cpu_s": seconds[1]}
        if self._targets is not None:
            row["hit_rate"] = hit_rate(list_BN, *self._targets)
            print(f"epoch {self.done + 1}: {row['hit_rate']:.4f}, {seconds[1]:.1f} CPU s", flush=True)
        self._report["epochs"].append(row)
        self._report.setdefault("peak_mib", peak_mib())  # of training: before lists are made for the first time
        np.save(lists_file(self._folder, self.done), list_BN)
        self._write()

    @property
    def done(self) -> int:
        """Epochs so far."""
        return len(self._report["epochs"])

    def more(self, settings: Settings) -> bool:
        """Return whether another epoch is due."""
        rates = [row.get("hit_rate", 0.0) for row in self._report["epochs"]]
        if self.done >= settings.epochs:
            stopped = "epochs"
        elif sum(row["cpu_s"] for row in self._report["epochs"]) >= settings.cpu_s:
            stopped = "time"
        elif settings.patience and rates and self.done - 1 - int(np.argmax(rates)) >= settings.patience:
            stopped = "converged"
        else:
            return True
        self.stop(stopped)
        return False

    def stop(self, why: str) -> None:
        """Keep why no epoch follows."""
        self._report["stopped"] = why
        self._write()

    def _write(self) -> None:
        (self._folder / "report.json").write_text(json.dumps(self._report), encoding="utf-8")


def lists_file(folder: Path, epoch: int) -> Path:
    """Return where the lists after an epoch, counted from 1, lie."""
    return folder / f"lists-{epoch:03}.npy"


def top_items(score_BI: NDArray[np.float32], seen: Sequences, places: int) -> NDArray[np.int64]:
    """Return the best items (B, N) by score, without item 0 and what each user has seen; changes ``score_BI``."""
    score_BI[:, 0] = -np.inf
    score_BI[seen.owners(), seen.item] = -np.inf
    top_BN = np.argpartition(-score_BI, places - 1, axis=1)[:, :places]
    order_BN = np.argsort(-np.take_along_axis(score_BI, top_BN, axis=1), axis=1, kind="stable")
    top_BN = np.take_along_axis(top_BN, order_BN, axis=1)
    listed_BN = np.isfinite(np.take_along_axis(score_BI, top_BN, axis=1))
    return np.where(listed_BN, top_BN, 0).astype(np.int64)
