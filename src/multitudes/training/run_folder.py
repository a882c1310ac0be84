"""The run folder at the start and the end of a training: lock, create, finish. One training at a time."""

import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from multitudes.atomic import fsync, note_path, replace_file
from multitudes.batches.held_out import HeldOut
from multitudes.data.prepared import PreparedData
from multitudes.errors import MachineWarning, UsageError
from multitudes.locks import lock
from multitudes.progress import Progress, silent
from multitudes.run_record import data_digest, new_record, read_record, write_record
from multitudes.training import checkpoint, optimizer_state
from multitudes.training.checkpoint import TrainingState
from multitudes.training.config import RunConfig
from multitudes.training.neighbours import JUDGES, fit_run_neighbours
from multitudes.training.selection import choose_list, draw_validation_users
from multitudes.training.trained_run import WEIGHTS, TrainedRun, build_model, load_weights


@contextmanager
def lock_run(out: Path) -> Iterator[None]:
    """Lock ``out`` for one training; the lock file is next to the folder, so that the folder can be replaced.

    Raises:
        UsageError: another process trains into it.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    with note_path(out), lock(out.with_name(f".{out.name}.lock"), wait=False, remove=True) as is_locked:
        if not is_locked:
            raise UsageError(f"{out}: another process trains into it; wait for its end, or give another --out")
        yield


def create_run_folder(prepared: PreparedData, config: RunConfig, out: Path, *, overwrite: bool) -> None:
    """Create the run folder with its record; ``overwrite`` deletes an existing one first."""
    if overwrite and out.exists():
        shutil.rmtree(out)
    if _is_empty(out):
        out.mkdir(parents=True, exist_ok=True)
        record = new_record(prepared, config.model_dump(mode="json"))
        write_record(out, record | {"threads": torch.get_num_threads()})
        fsync(out.parent)


def needs_training(prepared: PreparedData, config: RunConfig, out: Path, *, resume: bool, overwrite: bool) -> bool:
    """Check that a training may start or resume in ``out``; return False if it is already finished.

    Raises:
        UsageError: it exists and neither ``resume`` nor ``overwrite`` is set, it was started with other settings
            or data, or it is the run that a warm start begins from.
        ArtefactError: it exists and is not a run.
    """
    if config.continues and out.resolve() == Path(config.continues):
        raise UsageError(f"{out}: is the run that --continue names; give another --out")
    if overwrite and out.exists():
        read_record(out)  # raises if the folder is not a run: only a run may be deleted
        return True
    if not out.exists() or (resume and _is_empty(out)):
        return True
    if not resume:
        raise UsageError(
            f"{out}: exists; give another --out, continue it with --resume, or replace it with --overwrite"
        )
    record = read_record(out)
    if record["config"] != config.model_dump(mode="json") or record["prepared_digest"] != data_digest(prepared):
        raise UsageError(f"{out}: was started with other settings or data; resume with the same, or use --overwrite")
    now = torch.get_num_threads()
    started = record.get("threads", now)
    if not record["finished"] and started != now:
        warnings.warn(
            f"{out}: was started with {started} threads and goes on with {now}, so its weights may differ by rounding;"
            f" OMP_NUM_THREADS={started} gives those of an uninterrupted run",
            MachineWarning,
            stacklevel=2,
        )
    return not record["finished"]


def _is_empty(out: Path) -> bool:
    return not out.exists() or not any(out.iterdir())  # empty: killed before it wrote anything


def finish_run(
    state: TrainingState, run: TrainedRun, held: HeldOut, *, keep_state: bool, progress: Progress = silent
) -> None:
    """Write the weights of the best epoch, record that the run is finished, and delete its checkpoint.

    Optimisers and table of ``state`` are dropped: what follows needs the memory; ``keep_state``: the optimisers stay
    in the run, for a warm start. Neighbours and the list are chosen on more users than ``held``, who judged each epoch.
    """
    out, names = run.path, optimizer_state.weight_names(state)
    device, table = next(run.model.parameters()).device, run.model.items.id_embedding.weight
    state.optimizers.clear()
    table.data = table.new_empty(0)
    folder = out / "checkpoint"
    saved = checkpoint.load_best(folder)
    weights = {name.removeprefix("weight/"): tensor for name, tensor in saved.items() if name.startswith("weight/")}
    with replace_file(out / WEIGHTS) as partial:
        save_file(weights, partial)
    if keep_state:
        optimizer_state.write_state(saved, names, out)
    del saved, weights
    position, kinds = state.position, set(run.kinds(1))
    result: dict[str, Any] = {
        "best_epoch": position.best_epoch + 1,
        "validation_hit_rate": position.best_hit_rate,
        "shares": dict.fromkeys(kinds, 1.0) if len(kinds) == 1 else {},
        "calibration": None if len(kinds) > 1 else 0.0,  # as it is: of one vector, nothing is divided
        "judged_users": len(held),
    }
    model = build_model(run.prepared, run.config.method, run.config.model)
    load_weights(model, out / WEIGHTS)
    best = TrainedRun(out, run.prepared, run.config, model.to(device))
    judges = draw_validation_users(run.prepared, run.config, JUDGES)
    if run.config.model.neighbours:
        result["neighbours"], found = None, fit_run_neighbours(best, judges, progress)
        if found is not None:
            result["validation_hit_rate"] = found.hit_rate
        if found is not None and found.source is not None:
            found.source.rows.save(out)
            best.neighbours, result["neighbours"] = found.source, found.record
    if run.config.shares:  # those of the run before
        result |= {"shares": run.config.shares, "calibration": run.config.calibration}
    elif len(held) and len(kinds) > 1:
        choice = choose_list(best, judges, min(run.config.train.eval_k, run.prepared.n_items))
        result |= {} if choice is None else choice.to_record()
    write_record(out, read_record(out) | {"finished": True} | result)
    shutil.rmtree(folder, ignore_errors=True)
