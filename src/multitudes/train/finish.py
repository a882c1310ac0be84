"""What stays of a run when it is trained: the weights of its best epoch, what its optimiser knew, and no checkpoint."""

import shutil

from safetensors.torch import save_file

from multitudes.disk import replacing
from multitudes.train import checkpoint, kept
from multitudes.train.checkpoint import State
from multitudes.train.record import read_record, write_record
from multitudes.train.run import WEIGHTS, TrainedRun


def finish(state: State, run: TrainedRun, judged_users: int, *, keep_state: bool) -> None:
    """Write what stays of ``run``, whose record then says that it is finished.

    Args:
        state: at its end; its optimisers are let go of, as the room is needed for the weights.
        run: with the folder ``checkpoint`` in its own.
        judged_users: how many judged each epoch.
        keep_state: whether what the optimiser knew stays too.
    """
    out, names = run.path, kept.names(state)
    state.optimizers.clear()
    folder, items = out / "checkpoint", run.prepared.n_items + 1
    partial = out / f"{WEIGHTS}.partial"
    with replacing(out / WEIGHTS, partial):
        save_file(checkpoint.best(folder, items, "weight/"), partial)
    if keep_state:
        kept.write(folder, items, names, out)
    position = state.position
    write_record(
        out,
        read_record(out)
        | {
            "finished": True,
            "best_epoch": position.best_epoch + 1,
            "validation_hit_rate": position.best_hit_rate,
            "shares": position.best_shares,
            "judged_users": judged_users,
        },
    )
    shutil.rmtree(folder, ignore_errors=True)
