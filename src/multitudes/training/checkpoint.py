"""Where an interrupted run goes on: weights, optimiser state and counters as safetensors and JSON, swapped in at once.

The order of examples, the negatives and the dropout of a step are functions of (seed, epoch, step), so no random state
has to be kept for a resumed run to end with the identical weights.

Each rank writes a file with its rows of the item table, and reads its rows from the files of however many ranks wrote
them. (``torch.distributed.checkpoint`` does as much, and reads its index by pickle.) What the best epoch ended with is
kept here alone: in memory its weights would be a third of what training takes. Its files are the same ones under a
second name, where the file system has links, until a later epoch that is not better leaves them behind.

::

    checkpoint/position.json                   where training stands
               shared.safetensors              what every rank has
               rows-FROM-TO.safetensors        rows of the table and of what the optimiser knows of them
               best-shared.safetensors         the same two of the best epoch so far, once there is one
               best-rows-FROM-TO.safetensors
"""

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from multitudes.atomic import fsync, move_folder_into_place
from multitudes.batches.negatives import StreamingFrequency
from multitudes.errors import ArtefactError, UnavailableError
from multitudes.nn.two_tower import TwoTower
from multitudes.training.distributed import SINGLE_PROCESS, Ranks
from multitudes.training.optimizer import Adam
from multitudes.training.sharded_embedding import ITEM_TABLE
from multitudes.training.trained_run import named_weights

_TABLE_OPTIMIZER = "optimizer/1/"  # see train.step.fresh_state
_BEST = "best-"
_ROWS_PER_BLOCK = 65_536  # rows read at once
_REPAIR = "train again with --overwrite"
_DAMAGED = (OSError, LookupError, TypeError, ValueError, RuntimeError, SafetensorError)


@dataclass
class Position:
    """Where training stands."""

    epoch: int = 0
    batch: int = 0  # batches done in this epoch
    step: int = 0  # batches done in all
    best_hit_rate: float = -1.0
    best_epoch: int = -1
    best_shares: dict[str, float] = field(default_factory=dict)  # of the budget, by kind, as fitted at that epoch
    seconds: float = 0.0  # trained so far, over all sessions


@dataclass
class TrainingState:
    """Everything that changes while training."""

    model: TwoTower
    optimizers: list[Adam]
    frequency: StreamingFrequency
    loss_sums: dict[str, Tensor]
    position: Position


def save(state: TrainingState, folder: Path, ranks: Ranks = SINGLE_PROCESS, *, best: bool = False) -> None:
    """Write ``state``; a process killed at any moment, or a loss of power, leaves the earlier checkpoint or this one.

    Args:
        state: of this rank.
        folder: the checkpoint.
        ranks: all of them call this.
        best: this state is the best so far; else the one that was stays.

    Raises:
        OSError, SafetensorError: this rank could not write its part; what all had written gave its room back.
        UnavailableError: without a word, as another rank could not, which says so itself.
    """
    fresh, old = folder.with_name(folder.name + ".new"), _previous_folder(folder)
    if ranks.is_first:
        for leftover in (fresh, old):
            shutil.rmtree(leftover, ignore_errors=True)
        fresh.mkdir(parents=True)
        for file in () if best else folder.glob(f"{_BEST}*"):
            _link_or_copy(file, fresh / file.name)
    ranks.barrier()
    failed: Exception | None = None
    try:
        _write_files(state, fresh, ranks, best=best)
    except (OSError, SafetensorError) as error:
        failed = error
    if ranks.any(failed is not None):  # all know it, so that none waits for who has gone
        if ranks.is_first:
            shutil.rmtree(fresh, ignore_errors=True)
        raise failed or UnavailableError("")
    if ranks.is_first:
        move_folder_into_place(fresh, folder, aside=old)
    ranks.barrier()  # who ends now has the others ended too, and the renames must be done by then


def _write_files(state: TrainingState, fresh: Path, ranks: Ranks, *, best: bool) -> None:
    own = ranks.own_rows(state.model.items.id_embedding.num_embeddings)
    for file in _write_tensors(_state_tensors(state), fresh, own, ranks):
        if best:
            _link_or_copy(file, file.with_name(_BEST + file.name))
    if ranks.is_first:
        position = fresh / "position.json"
        position.write_text(json.dumps(asdict(state.position)), encoding="utf-8")
        fsync(position)


def _link_or_copy(file: Path, to: Path) -> None:
    try:
        to.hardlink_to(file)
    except OSError:  # not every file system has links
        shutil.copyfile(file, to)


def _write_tensors(tensors: dict[str, Tensor], folder: Path, own: slice, ranks: Ranks) -> list[Path]:
    """Write what has a row for each item, each rank its own, and the rest once; return the files of this rank."""
    of_table = {name: tensor for name, tensor in tensors.items() if _has_rows(name)}
    files = {f"rows-{own.start}-{own.stop}.safetensors": of_table}
    if ranks.is_first:
        files["shared.safetensors"] = {name: tensor for name, tensor in tensors.items() if name not in of_table}
    for name, some in files.items():
        save_file(some, folder / name)
        fsync(folder / name)
    return [folder / name for name in files]


def load_best(folder: Path, items: int, prefix: str) -> dict[str, Tensor]:
    """Return what the best epoch ended with, whole: of ``items`` rows, whoever wrote them.

    Args:
        folder: the checkpoint.
        items: rows of the table.
        prefix: which tensors: ``weight/``, ``optimizer/``, ``frequency/`` or ``steps``; names come without it.

    Raises:
        ArtefactError: the checkpoint is damaged.
    """
    shared = folder / f"{_BEST}shared.safetensors"
    with translate_read_errors(shared), safe_open(shared, "pt") as opened:
        rest = {name: opened.get_tensor(name) for name in opened.keys() if name.startswith(prefix)}  # noqa: SIM118
    found = _with_prefix(prefix, rest | _read_rows(folder, slice(0, items), _BEST, under=prefix))
    if not found:
        raise ArtefactError(f"{shared}: damaged, or of another version (no {prefix}); {_REPAIR}")
    return found


def load(state: TrainingState, folder: Path, ranks: Ranks = SINGLE_PROCESS) -> None:
    """Restore ``state`` in place; without a checkpoint it is left as it is.

    Raises:
        ArtefactError: the checkpoint is damaged or belongs to another model.
    """
    old = _previous_folder(folder)
    if ranks.is_first and old.exists() and not folder.exists():
        old.replace(folder)  # a crash between the two renames of `save`: the next `save` would take it for a leftover
    ranks.barrier()
    if not folder.exists():
        return
    shared, position = folder / "shared.safetensors", folder / "position.json"
    with translate_read_errors(shared):
        tensors = load_file(shared)
    own = ranks.own_rows(state.model.items.id_embedding.num_embeddings)
    tensors |= _read_rows(folder, own, into={f"weight/{ITEM_TABLE}": named_weights(state.model)[ITEM_TABLE]})
    with translate_read_errors(position):
        state.position = Position(**json.loads(position.read_text(encoding="utf-8")))
    with translate_read_errors(folder):
        _restore_state(state, tensors)


@contextmanager
def translate_read_errors(file: Path, repair: str = _REPAIR) -> Iterator[None]:
    """Say in one line, which ends with what to do, that ``file`` is not what was written or is of another model.

    Raises:
        ArtefactError: it is so.
    """
    try:
        yield
    except FileNotFoundError:
        raise ArtefactError(f"{file}: missing; {repair}") from None
    except _DAMAGED as error:
        raise ArtefactError(f"{file}: damaged, or of another model ({type(error).__name__}); {repair}") from None


def _restore_state(state: TrainingState, tensors: dict[str, Tensor]) -> None:
    for name, tensor in named_weights(state.model).items():
        if name != ITEM_TABLE:  # whose rows were read into their place
            tensor.copy_(tensors[f"weight/{name}"])
    state.loss_sums = _with_prefix("loss/", tensors)
    state.frequency.last[:] = tensors["frequency/last"].numpy()
    state.frequency.interval[:] = tensors["frequency/interval"].numpy()
    for i, optimizer in enumerate(state.optimizers):
        restore_optimizer(optimizer, _with_prefix(f"optimizer/{i}/", tensors))


def _has_rows(name: str) -> bool:
    """Return whether a tensor has a row for each item, of which a rank holds some."""
    return name.endswith(ITEM_TABLE) or (name.startswith(_TABLE_OPTIMIZER) and not name.endswith("/step"))


def _read_rows(
    folder: Path, own: slice, prefix: str = "", *, under: str = "", into: Mapping[str, Tensor] | None = None
) -> dict[str, Tensor]:
    """Read the rows ``own`` from the files that hold some of them, where there is one ``into`` a tensor.

    Of the tensors whose names begin with ``under``, a block at a time: whole, what is read would be in memory twice.
    """
    found, there = dict(into or {}), 0
    for file in sorted(folder.glob(f"{prefix}rows-*"), key=_row_range):
        start, stop = _row_range(file)
        first, last = max(start, own.start), min(stop, own.stop)
        if first >= last:
            continue
        there += last - first
        with translate_read_errors(file), safe_open(file, "pt") as opened:
            for name in filter(lambda name: name.startswith(under), opened.keys()):
                rows = opened.get_slice(name)
                for at in range(first, last, _ROWS_PER_BLOCK):
                    block = rows[at - start : min(at + _ROWS_PER_BLOCK, last) - start]
                    if name not in found:
                        found[name] = block.new_empty(own.stop - own.start, *block.shape[1:])
                    found[name][at - own.start :][: len(block)].copy_(block)
    if there != own.stop - own.start:
        raise ArtefactError(
            f"{folder}: a file {prefix}rows-FROM-TO.safetensors is missing: {there:,} of the rows {own.start:,} to"
            f" {own.stop:,} are there; {_REPAIR}"
        )
    return found


def _row_range(file: Path) -> tuple[int, int]:
    """Return which rows of the table a file has, by its name."""
    start, stop = file.stem.split("-")[-2:]
    return int(start), int(stop)


def _previous_folder(folder: Path) -> Path:
    return folder.with_name(folder.name + ".old")


def _state_tensors(state: TrainingState) -> dict[str, Tensor]:
    tensors = {f"weight/{name}": tensor for name, tensor in named_weights(state.model).items()}
    tensors |= {f"loss/{name}": tensor for name, tensor in state.loss_sums.items()}
    tensors["steps"] = torch.tensor(state.position.step)
    tensors["frequency/last"] = torch.from_numpy(state.frequency.last)
    tensors["frequency/interval"] = torch.from_numpy(state.frequency.interval)
    for i, optimizer in enumerate(state.optimizers):
        for number, values in optimizer.state.items():
            tensors |= {f"optimizer/{i}/{number}/{key}": value for key, value in values.items()}
    return {name: tensor.contiguous() for name, tensor in tensors.items()}


def restore_optimizer(optimizer: Adam, tensors: dict[str, Tensor]) -> None:
    """Give ``optimizer`` the state that ``tensors`` hold under the number of a weight and a key."""
    optimizer.state = {}
    for name, tensor in tensors.items():
        number, key = name.split("/")
        lies = tensor if key == "step" else tensor.to(optimizer.weights[int(number)].device)
        optimizer.state.setdefault(int(number), {})[key] = lies


def _with_prefix(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
