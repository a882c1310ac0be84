"""The run folder when training begins: new, to be gone on with, or finished already; and one training at a time.

What stays of a run when it is trained: the weights of its best epoch, what its optimiser knew, and no checkpoint.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors.torch import save_file

from multitudes.atomic import fsync, replace_file
from multitudes.config import current_names
from multitudes.data.prepared import PreparedData
from multitudes.errors import UsageError
from multitudes.locks import lock
from multitudes.run_record import data_digest, new_record, read_record, write_record
from multitudes.training import checkpoint, optimizer_state
from multitudes.training.checkpoint import TrainingState
from multitudes.training.config import RunConfig
from multitudes.training.trained_run import WEIGHTS, TrainedRun


@contextmanager
def lock_run(out: Path) -> Iterator[None]:
    """Keep others from training into ``out``; the lock lies beside it, so that the folder can be replaced.

    Raises:
        UsageError: somebody does already.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    with lock(out.with_name(f".{out.name}.lock"), wait=False, remove=True) as had:
        if not had:
            raise UsageError(f"{out}: another process trains into it; wait for its end, or give another --out")
        yield


def create_run_folder(prepared: PreparedData, config: RunConfig, out: Path, *, overwrite: bool) -> None:
    """Make the run folder that is not there yet, or that shall be replaced."""
    if overwrite and out.exists():
        shutil.rmtree(out)
    if _is_empty(out):
        out.mkdir(parents=True, exist_ok=True)
        write_record(out, new_record(prepared, config.model_dump(mode="json")))
        fsync(out.parent)


def needs_training(prepared: PreparedData, config: RunConfig, out: Path, *, resume: bool, overwrite: bool) -> bool:
    """Check that training may begin in ``out``, or go on there; return False if it is finished already.

    Raises:
        UsageError: it exists and neither ``resume`` nor ``overwrite`` is on, was begun with other settings or data, or
            is the run to go on from.
        ArtefactError: what exists is no run.
    """
    if config.continues and out.resolve() == Path(config.continues):
        raise UsageError(f"{out}: is the run to go on from; give another --out")
    if overwrite and out.exists():
        read_record(out)  # refuse to delete a folder that is not a run
        return True
    if not out.exists() or (resume and _is_empty(out)):
        return True
    if not resume:
        raise UsageError(f"{out}: exists; give another --out, go on with --resume, or replace it with --overwrite")
    record = read_record(out)
    begun_with = current_names(RunConfig, record["config"], warn=False)
    if begun_with != config.model_dump(mode="json") or record["prepared_digest"] != data_digest(prepared):
        raise UsageError(f"{out}: was begun with other settings or data; resume with the same, or use --overwrite")
    return not record["finished"]


def _is_empty(out: Path) -> bool:
    return not out.exists() or not any(out.iterdir())  # empty: killed before it had written a word


def finish_run(state: TrainingState, run: TrainedRun, n_validation_users: int, *, keep_state: bool) -> None:
    """Write what stays of ``run``, whose record then says that it is finished.

    Args:
        state: at its end; its optimisers are let go of, as the room is needed for the weights.
        run: with the folder ``checkpoint`` in its own.
        n_validation_users: how many judged each epoch.
        keep_state: whether what the optimiser knew stays too.
    """
    out, names = run.path, optimizer_state.weight_names(state)
    state.optimizers.clear()
    folder, items = out / "checkpoint", run.prepared.n_items + 1
    with replace_file(out / WEIGHTS) as partial:
        save_file(checkpoint.load_best(folder, items, "weight/"), partial)
    if keep_state:
        optimizer_state.write_state(folder, items, names, out)
    position = state.position
    write_record(
        out,
        read_record(out)
        | {
            "finished": True,
            "best_epoch": position.best_epoch + 1,
            "validation_hit_rate": position.best_hit_rate,
            "shares": position.best_shares,
            "judged_users": n_validation_users,
        },
    )
    shutil.rmtree(folder, ignore_errors=True)
