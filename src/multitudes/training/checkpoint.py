"""Checkpoints of an interrupted run: weights, optimiser state and counters, as safetensors and JSON, replaced at once.

The order of examples, the negatives and the dropout of a step are functions of (seed, epoch, step). So no random state
needs saving, and a resumed run still ends with identical weights.

Each rank writes a file with its rows of the item table, and reads its rows from the files of any number of ranks.
(``torch.distributed.checkpoint`` does the same, but reads its index with pickle.) The state of the best epoch is only
in the checkpoint: in memory its weights would be a third of what training takes. If the last epoch is the best, the
files of both are hard links to the same data, where the file system has links.

::

    checkpoint/position.json                   progress of the training
               shared.safetensors              tensors that every rank has
               rows-FROM-TO.safetensors        rows of the item table, with their optimiser state
               best-shared.safetensors         the same of the best epoch so far, if there is one
               best-rows-FROM-TO.safetensors
"""

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
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

_TABLE_OPTIMIZER = "optimizer/1/"  # the number of the table's optimiser; see training.step.initial_state
_BEST = "best-"
_ROWS_PER_CHUNK = 65_536  # rows that are read at once
_REPAIR = "train again with --overwrite"
_DAMAGED = (OSError, LookupError, TypeError, ValueError, RuntimeError, SafetensorError)


@dataclass
class Position:
    """Progress of a training. The names of the fields are those in position.json."""

    epoch: int = 0
    batch: int = 0  # batches done in this epoch
    step: int = 0  # batches done in total
    best_hit_rate: float = -1.0
    best_epoch: int = -1
    seconds: float = 0.0  # training time so far, over all sessions


@dataclass
class TrainingState:
    """Everything that changes during training."""

    model: TwoTower
    optimizers: list[Adam]
    frequency: StreamingFrequency
    loss_sums: dict[str, Tensor]
    position: Position


def save(state: TrainingState, folder: Path, ranks: Ranks = SINGLE_PROCESS, *, best: bool = False) -> None:
    """Write a checkpoint; a process killed at any moment, or a power loss, leaves either the old one or the new one.

    Args:
        state: the state of this rank.
        folder: the folder of the checkpoint.
        ranks: all of them must call this.
        best: this state is the best so far; otherwise the best one is kept.

    Raises:
        OSError, SafetensorError: this rank could not write its files; the files of all ranks are deleted again.
        UnavailableError: another rank could not write; the message is empty, since that rank reports it.
    """
    partial, old = folder.with_name(folder.name + ".new"), _previous_folder(folder)
    if ranks.is_first:
        for leftover in (partial, old):
            shutil.rmtree(leftover, ignore_errors=True)
        partial.mkdir(parents=True)
        for file in () if best else folder.glob(f"{_BEST}*"):
            _link_or_copy(file, partial / file.name)
    ranks.barrier()
    failed: Exception | None = None
    try:
        _write_files(state, partial, ranks, best=best)
    except (OSError, SafetensorError) as error:
        failed = error
    if ranks.any(failed is not None):  # all ranks learn of it, so that none waits for one that has ended
        if ranks.is_first:
            shutil.rmtree(partial, ignore_errors=True)
        raise failed or UnavailableError("")
    if ranks.is_first:
        move_folder_into_place(partial, folder, backup=old)
    ranks.barrier()  # when a rank ends, the others end too, so the renames must be done before


def _write_files(state: TrainingState, partial: Path, ranks: Ranks, *, best: bool) -> None:
    own = ranks.own_rows(state.model.items.id_embedding.num_embeddings)
    for file in _write_tensors(_state_tensors(state), partial, own, ranks):
        if best:
            _link_or_copy(file, file.with_name(_BEST + file.name))
    if ranks.is_first:
        position = partial / "position.json"
        position.write_text(json.dumps(asdict(state.position)), encoding="utf-8")
        fsync(position)


def _link_or_copy(file: Path, to: Path) -> None:
    try:
        to.hardlink_to(file)
    except OSError:  # the file system has no links
        shutil.copyfile(file, to)


def _write_tensors(tensors: dict[str, Tensor], folder: Path, own: slice, ranks: Ranks) -> list[Path]:
    """Write this rank's rows of the tables, and on the first rank the other tensors; return the files written here."""
    table_tensors = {name: tensor for name, tensor in tensors.items() if _has_rows(name)}
    files = {f"rows-{own.start}-{own.stop}.safetensors": table_tensors}
    if ranks.is_first:
        files["shared.safetensors"] = {name: tensor for name, tensor in tensors.items() if name not in table_tensors}
    for name, file_tensors in files.items():
        save_file(file_tensors, folder / name)
        fsync(folder / name)
    return [folder / name for name in files]


def load_best(folder: Path, items: int, prefix: str) -> dict[str, Tensor]:
    """Return tensors of the best epoch, with all rows of the item table.

    Args:
        folder: the folder of the checkpoint.
        items: number of rows of the item table.
        prefix: selects tensors: ``weight/``, ``optimizer/``, ``frequency/`` or ``steps``; it is removed from the names.

    Raises:
        ArtefactError: the checkpoint is damaged.
    """
    shared = folder / f"{_BEST}shared.safetensors"
    with translate_read_errors(shared), safe_open(shared, "pt") as file_tensors:
        rest = {name: file_tensors.get_tensor(name) for name in file_tensors.keys() if name.startswith(prefix)}  # noqa: SIM118
    found = _with_prefix(prefix, rest | _read_rows(folder, slice(0, items), _BEST, name_prefix=prefix))
    if not found:
        raise ArtefactError(f"{shared}: damaged, or of another version (no {prefix}); {_REPAIR}")
    return found


def load(state: TrainingState, folder: Path, ranks: Ranks = SINGLE_PROCESS) -> None:
    """Restore ``state`` in place; without a checkpoint nothing changes.

    Raises:
        ArtefactError: the checkpoint is damaged or belongs to another model.
    """
    old = _previous_folder(folder)
    if ranks.is_first and old.exists() and not folder.exists():
        old.replace(folder)  # a crash between the two renames of `save`
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
    """Turn errors of reading ``file`` into an error of one line that ends with ``repair``: what to do.

    Raises:
        ArtefactError: the file is missing, damaged, or belongs to another model.
    """
    try:
        yield
    except FileNotFoundError:
        raise ArtefactError(f"{file}: missing; {repair}") from None
    except _DAMAGED as error:
        raise ArtefactError(f"{file}: damaged, or of another model ({type(error).__name__}); {repair}") from None


def _restore_state(state: TrainingState, tensors: dict[str, Tensor]) -> None:
    for name, tensor in named_weights(state.model).items():
        if name != ITEM_TABLE:  # its rows were read in place
            tensor.copy_(tensors[f"weight/{name}"])
    state.loss_sums = _with_prefix("loss/", tensors)
    state.frequency.last[:] = tensors["frequency/last"].numpy()
    state.frequency.interval[:] = tensors["frequency/interval"].numpy()
    for i, optimizer in enumerate(state.optimizers):
        restore_optimizer(optimizer, _with_prefix(f"optimizer/{i}/", tensors))


def _has_rows(name: str) -> bool:
    """Return whether a tensor has a row for each item, so that every rank holds some of its rows."""
    return name.endswith(ITEM_TABLE) or (name.startswith(_TABLE_OPTIMIZER) and not name.endswith("/step"))


def _read_rows(
    folder: Path, own: slice, file_prefix: str = "", *, name_prefix: str = "", into: Mapping[str, Tensor] | None = None
) -> dict[str, Tensor]:
    """Read the rows ``own`` of all tensors whose names begin with ``name_prefix``, from the files of any ranks.

    Rows are read in chunks, into the tensors ``into`` if given: otherwise they would be in memory twice.
    """
    found, rows_read = dict(into or {}), 0
    for file in sorted(folder.glob(f"{file_prefix}rows-*"), key=_row_range):
        start, stop = _row_range(file)
        first, last = max(start, own.start), min(stop, own.stop)
        if first >= last:
            continue
        rows_read += last - first
        with translate_read_errors(file), safe_open(file, "pt") as file_tensors:
            for name in filter(lambda name: name.startswith(name_prefix), file_tensors.keys()):
                rows = file_tensors.get_slice(name)
                for row in range(first, last, _ROWS_PER_CHUNK):
                    chunk = rows[row - start : min(row + _ROWS_PER_CHUNK, last) - start]
                    if name not in found:
                        found[name] = chunk.new_empty(own.stop - own.start, *chunk.shape[1:])
                    found[name][row - own.start :][: len(chunk)].copy_(chunk)
    if rows_read != own.stop - own.start:
        raise ArtefactError(
            f"{folder}: a file {file_prefix}rows-FROM-TO.safetensors is missing: {rows_read:,} of the rows"
            f" {own.start:,} to {own.stop:,} are there; {_REPAIR}"
        )
    return found


def _row_range(file: Path) -> tuple[int, int]:
    """Return the first row of a file, and one past its last, from its name."""
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
    """Set the state of ``optimizer`` from tensors named NUMBER/KEY, NUMBER being that of a weight."""
    optimizer.state = {}
    for name, tensor in tensors.items():
        number, key = name.split("/")
        placed = tensor if key == "step" else tensor.to(optimizer.weights[int(number)].device)
        optimizer.state.setdefault(int(number), {})[key] = placed


def _with_prefix(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
