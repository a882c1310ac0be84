"""The training loop: epochs of batches, validation with early stopping, interruption and resumption."""

import math
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import torch
from safetensors.torch import save_file

from multitudes.batches.examples import Batch, Examples
from multitudes.batches.held_out import HeldOut, held_out
from multitudes.data.prepared import Prepared
from multitudes.errors import MultitudesError, UsageError
from multitudes.progress import Progress, silent
from multitudes.train import checkpoint
from multitudes.train.allocator import keep_freed_memory
from multitudes.train.checkpoint import State
from multitudes.train.config import RunConfig
from multitudes.train.record import append_metrics, data_digest, new_record, read_record, write_record
from multitudes.train.run import TrainedRun, weights
from multitudes.train.step import forward, fresh_state, update
from multitudes.train.validation import judge, sample_rows


def train(
    prepared: Prepared, config: RunConfig, out: str | Path, *, resume: bool = False, progress: Progress = silent
) -> TrainedRun:
    """Train ``config.method`` on ``prepared`` and write the run folder ``out``.

    Same data, configuration and machine give identical weights, whether or not training was interrupted on the way. The
    process keeps the memory that it frees from then on (``train/allocator.py``).

    Raises:
        UsageError: ``out`` exists and ``resume`` is off, or it was begun with other settings or data.
        MultitudesError: the loss is no longer finite.
        KeyboardInterrupt: after Ctrl-C, once the state is saved.
    """
    out = Path(out)
    if not _begin(prepared, config, out, resume):
        return TrainedRun.open(out)
    keep_freed_memory()
    state = fresh_state(prepared, config)
    checkpoint.load(state, out / "checkpoint")
    _Loop(prepared, config, out, state, progress).run()
    return TrainedRun.open(out)


class _Loop:
    """One training session: what it needs is fixed at its start, what changes is in ``state``."""

    def __init__(self, prepared: Prepared, config: RunConfig, out: Path, state: State, progress: Progress) -> None:
        self.config, self.out, self.state, self.progress = config, out, state, progress
        self.run_view = TrainedRun(out, prepared, config, state.model)
        settings = config.train
        self.examples = Examples(
            prepared,
            history=config.model.history,
            window=settings.window,
            first_time_only=settings.first_time_only,
            condition=settings.condition,
            forget_share=settings.forget_share,
            dense=settings.dense,
            ahead=settings.ahead,
            validation_too=settings.final,
        )
        self.held: HeldOut = held_out(prepared, "validation")
        rows = sample_rows(self.held, settings.validate_users, config.seed)
        self.rows = rows[:0] if settings.final else rows  # what was trained on judges nothing

    def run(self) -> None:
        position = self.state.position
        with _deferred_interrupt() as interrupted:
            while position.epoch < self.config.train.epochs and not self._out_of_patience():
                if not self._epoch(interrupted):
                    checkpoint.save(self.state, self.out / "checkpoint")
                    raise KeyboardInterrupt
        self._finish()

    def _out_of_patience(self) -> bool:
        position = self.state.position
        return position.best_epoch >= 0 and position.epoch - 1 - position.best_epoch >= self.config.train.patience

    def _epoch(self, interrupted: list[bool]) -> bool:
        """Train one epoch from where it stands; return False if a person interrupted it."""
        position, seed, settings = self.state.position, self.config.seed, self.config.train
        size, most = settings.batch_size, settings.epoch_batches or None
        batches = self.examples.batches_per_epoch(size, seed, position.epoch, most)
        began, first, targets = time.perf_counter(), position.batch, 0
        for batch in self.examples.epoch(size, seed, position.epoch, skip=first, most=most):
            self._step(batch)
            targets += len(batch.dense.target_T)
            self.progress(position.batch, batches, f"epoch {position.epoch + 1}, {self._note()}")
            if interrupted:
                position.seconds += time.perf_counter() - began
                return False
        seconds = time.perf_counter() - began
        position.seconds += seconds
        self._end_of_epoch(targets / max(seconds, 1e-9))
        return True

    def _step(self, batch: Batch) -> None:
        state = self.state
        state.position.step += 1
        losses = forward(state, batch, self.run_view.prepared.n_items, self.config)
        self._check_finite(sum(float(loss.detach()) for loss in losses.values()))
        update(state, losses, self.config.train)
        for kind, loss in losses.items():
            state.loss_sums[kind] = state.loss_sums.get(kind, torch.zeros(())) + loss.detach().cpu()
        state.position.batch += 1

    def _check_finite(self, loss: float) -> None:
        if not math.isfinite(loss):
            position, before = self.state.position, self._note() or "no loss"
            raise MultitudesError(
                f"the loss is {loss} at epoch {position.epoch + 1}, step {position.step} ({before} before);"
                f" stopped, nothing after epoch {position.epoch} is kept. Lower learning_rate in [train]"
            )

    def _note(self) -> str:
        """Return the mean losses of the epoch so far."""
        done = self.state.position.batch
        return ", ".join(f"{kind} loss {float(s) / done:.3f}" for kind, s in self.state.loss_sums.items())

    def _end_of_epoch(self, targets_per_s: float) -> None:
        position = self.state.position
        self.run_view = TrainedRun(self.out, self.run_view.prepared, self.config, self.state.model)
        rate, shares = judge(self.run_view, self.held, self.rows, self.config.train.validate_at)
        if rate > position.best_hit_rate or not len(self.rows):  # nothing to judge by: the last epoch is kept
            position.best_hit_rate, position.best_epoch = rate, position.epoch
            position.best_shares = {str(kind): share for kind, share in (self.config.shares or shares).items()}
            self.state.best = {name: tensor.clone() for name, tensor in weights(self.state.model).items()}
        record = {
            "epoch": position.epoch + 1,
            "step": position.step,
            "loss": {kind: float(s) / position.batch for kind, s in self.state.loss_sums.items()},
            "validation_hit_rate": rate,
            "validate_at": self.config.train.validate_at,
            "shares": shares,
            "targets_per_s": round(targets_per_s, 1),
            "seconds": round(position.seconds, 3),
        }
        append_metrics(self.out / "metrics.jsonl", record)
        position.epoch, position.batch = position.epoch + 1, 0
        self.state.loss_sums = {}
        checkpoint.save(self.state, self.out / "checkpoint")

    def _finish(self) -> None:
        partial = self.out / "weights.safetensors.partial"
        save_file(self.state.best or weights(self.state.model), partial)
        partial.replace(self.out / "weights.safetensors")
        record = read_record(self.out)
        position = self.state.position
        record |= {
            "finished": True,
            "best_epoch": position.best_epoch + 1,
            "validation_hit_rate": position.best_hit_rate,
            "shares": position.best_shares,
            "judged_users": len(self.rows),
        }
        write_record(self.out, record)
        shutil.rmtree(self.out / "checkpoint", ignore_errors=True)


def _begin(prepared: Prepared, config: RunConfig, out: Path, resume: bool) -> bool:
    """Make the run folder, or check that it can be resumed; return False if it is finished already."""
    settings = config.model_dump(mode="json")
    if not out.exists():
        out.mkdir(parents=True)
        write_record(out, new_record(prepared, settings))
        return True
    if not resume:
        raise UsageError(f"{out}: exists; give another --out, go on with --resume, or replace it with --overwrite")
    record = read_record(out)
    if record["config"] != settings or record["prepared_digest"] != data_digest(prepared):
        raise UsageError(f"{out}: was begun with other settings or data; resume with the same, or use --overwrite")
    return not record["finished"]


@contextmanager
def _deferred_interrupt() -> Iterator[list[bool]]:
    """Turn Ctrl-C into an entry of the yielded list, so that the running step ends and its state can be saved."""
    pressed: list[bool] = []

    def remember(signum: int, frame: FrameType | None) -> None:
        del signum, frame
        pressed.append(True)

    try:
        earlier = signal.signal(signal.SIGINT, remember)
    except ValueError:  # not in the main thread: the caller handles interruption
        yield pressed
        return
    try:
        yield pressed
    finally:
        signal.signal(signal.SIGINT, earlier)
