"""The training loop: epochs of batches, validation with early stopping, interruption and resumption."""

import math
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import FrameType
from typing import Any, Final

import torch

from multitudes.batches.examples import Examples
from multitudes.batches.held_out import HeldOut
from multitudes.batches.windows import WindowBatch
from multitudes.data.prepared import PreparedData
from multitudes.errors import MultitudesError, UsageError
from multitudes.nn.user_tower import implicit_method
from multitudes.progress import Progress, amount, duration_text, silent
from multitudes.run_record import append_metrics
from multitudes.training import checkpoint
from multitudes.training.checkpoint import TrainingState
from multitudes.training.config import RunConfig
from multitudes.training.distributed import SINGLE_PROCESS, Ranks, gather_item_table
from multitudes.training.execution import (
    DEFAULT_EXECUTION,
    ExecutionConfig,
    keep_freed_memory,
    set_precision,
    trim_heap,
)
from multitudes.training.run_folder import create_run_folder, finish_run, lock_run, needs_training
from multitudes.training.selection import draw_validation_users, hit_rate
from multitudes.training.step import compute_gradients, initial_state, optimizer_step, training_device
from multitudes.training.trained_run import TrainedRun
from multitudes.training.warm_start import warm_start

HISTORY_DROPOUT: Final = 0.05  # share of examples without history: new users, with followed topics only
_SPEED_AFTER_S: Final = 5.0  # of training, after which its speed is known


def training_examples(prepared: PreparedData, config: RunConfig) -> Examples:
    """Return the training examples that the settings of a run select.

    Raises:
        DataError: there is none.
    """
    settings = config.train
    return Examples(
        prepared,
        history=config.model.history,
        window=settings.window,
        condition=settings.condition,
        history_dropout=HISTORY_DROPOUT,
        dense=settings.dense,
        include_validation=config.final,
        since=config.since,
    )


def train(
    prepared: PreparedData,
    config: RunConfig,
    out: str | Path,
    *,
    resume: bool = False,
    execution: ExecutionConfig = DEFAULT_EXECUTION,
    progress: Progress = silent,
    on_epoch: Callable[[dict[str, Any]], None] = lambda _: None,
) -> TrainedRun:
    """Train a model in this process and open the finished run.

    On a CPU, equal data, settings, machine, versions and number of threads (``torch.get_num_threads``) give
    identical weights, whether or not training was interrupted. Another number of threads rounds sums otherwise, and a
    GPU promises nothing.

    Args:
        prepared: the prepared data.
        config: method, seed and settings.
        out: the run folder to write.
        resume: continue an interrupted training in ``out``; open it if it is finished.
        execution: memory, precision and checkpoints.
        progress: reports progress.
        on_epoch: called after each epoch, once it is saved, with its line of metrics.jsonl: what an experiment tracker
            logs. If it raises, training stops there; ``resume`` goes on.

    Returns:
        The finished run with the weights of its best epoch.

    Raises:
        UsageError: ``out`` exists and ``resume`` is off, it was started with other settings or data, another process
            trains into it, or there is no such device.
        DataError: there is no training example.
        MultitudesError: the loss is no longer finite.
        KeyboardInterrupt: after Ctrl-C, once the state is saved.
    """
    fit(prepared, config, out, resume=resume, execution=execution, progress=progress, on_epoch=on_epoch)
    return TrainedRun.open(out)


def fit(
    prepared: PreparedData,
    config: RunConfig,
    out: str | Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    execution: ExecutionConfig = DEFAULT_EXECUTION,
    ranks: Ranks = SINGLE_PROCESS,
    progress: Progress = silent,
    say: Callable[[str], None] = lambda _: None,
    on_epoch: Callable[[dict[str, Any]], None] = lambda _: None,
) -> None:
    """Train a model, on one or several ranks, and write its run folder; what ``train`` has too is described there.

    On CPUs, equal data, settings, machine, versions, number of ranks and of threads of each give identical weights,
    whether or not training was interrupted. All ranks must see ``out``; ``overwrite`` replaces it if it is a run.
    ``say`` is called with a line about the work that begins, and with another one when its speed is known.
    From then on, the process keeps the memory that it frees (``training/execution.py``).

    Raises:
        UsageError: also if the method cannot be trained by several ranks or micro batches, or there is no such device.
        UnavailableError: another rank ended, or did not respond in time.
    """
    out = Path(out)
    # Checked first, so that no folder is left behind.
    _check_divisible(prepared, config, ranks.size * execution.gradient_accumulation, ranks)
    training_device(config.train.device)
    with lock_run(out) if ranks.is_first else nullcontext():
        is_needed = ranks.is_first and needs_training(prepared, config, out, resume=resume, overwrite=overwrite)
        if not ranks.broadcast([is_needed])[0]:
            return
        examples, held = training_examples(prepared, config), draw_validation_users(prepared, config)
        state = initial_state(prepared, config, ranks)
        keep_freed_memory()  # only now: the initialisation has freed a whole item table
        set_precision(state.model, execution)
        if config.continues:
            warm_start(state, prepared, config, ranks)
        if ranks.is_first:
            create_run_folder(prepared, config, out, overwrite=overwrite)  # last, since the steps above can fail
        checkpoint.load(state, out / "checkpoint", ranks)
        _Loop(examples, held, config, out, state, execution, ranks, progress, say, on_epoch).run()
        ranks.barrier()


@dataclass
class _Loop:
    """One training session. Only ``state`` changes."""

    examples: Examples
    validation_users: HeldOut
    config: RunConfig
    out: Path
    state: TrainingState
    execution: ExecutionConfig
    ranks: Ranks
    progress: Progress
    say: Callable[[str], None]
    on_epoch: Callable[[dict[str, Any]], None]
    said: int = 0  # lines

    def run(self) -> None:
        position, most, patience = self.state.position, self.config.train.epochs, self.config.train.patience
        with _defer_interrupt() as interrupted:
            while position.epoch < most and not 0 <= position.best_epoch < position.epoch - patience:
                if not self._train_epoch(interrupted):
                    self._save()
                    raise KeyboardInterrupt
        if self.ranks.is_first:
            keep_state = self.execution.keep_state
            finish_run(self.state, self._run(), self.validation_users, keep_state=keep_state, progress=self.progress)

    def _run(self) -> TrainedRun:
        return TrainedRun(self.out, self.examples.prepared, self.config, self.state.model)

    def _save(self, *, best: bool = False) -> None:
        checkpoint.save(self.state, self.out / "checkpoint", self.ranks, best=best)

    def _train_epoch(self, interrupted: list[bool]) -> bool:
        """Train the rest of the current epoch; return False if it was interrupted."""
        position, seed, settings = self.state.position, self.config.seed, self.config.train
        size, max_batches = settings.batch_size, settings.epoch_batches or None
        epoch = self.examples.windows.epoch_batches(size, seed, position.epoch, max_batches)
        trim_heap()  # frees the memory of shuffling
        last_s, targets, start_s, first = time.perf_counter(), 0, position.seconds, position.batch
        if not self.said:
            most = amount(settings.epochs, "epoch")
            self._say_line(f"{len(self.examples):,} targets, {len(epoch):,} batches an epoch, at most {most}")
        for windows in islice(epoch, position.batch, None):
            self._train_step(windows)
            targets += int((windows.stop_B - windows.start_B).sum())
            self._report_progress(len(epoch))
            now_s = time.perf_counter()
            position.seconds, last_s = position.seconds + now_s - last_s, now_s
            spent_s = position.seconds - start_s
            if self.said == 1 and spent_s >= _SPEED_AFTER_S:
                self._say_speed(targets / spent_s, spent_s / (position.batch - first), len(epoch))
            if self.ranks.any(bool(interrupted)):
                return False
            if self.execution.checkpoint_steps and position.step % self.execution.checkpoint_steps == 0:
                self._save()
        self._finish_epoch(targets / max(position.seconds - start_s, 1e-9))
        return True

    def _say_speed(self, targets_per_s: float, batch_s: float, epoch_batches: int) -> None:
        position, epochs = self.state.position, self.config.train.epochs
        epoch_s = (epoch_batches - position.batch) * batch_s
        all_s = epoch_s + (epochs - position.epoch - 1) * epoch_batches * batch_s
        self._say_line(
            f"{targets_per_s:,.0f} targets a second; this epoch ends in {duration_text(epoch_s)}, the last of"
            f" {epochs:,} in {duration_text(all_s)} at most, without validation"
        )

    def _say_line(self, text: str) -> None:
        self.said += 1
        self.say(f"train {self.config.method}: {text}")

    def _report_progress(self, epoch_batches: int) -> None:
        """Report the batches of all epochs, so that the time left is that of the whole training."""
        position, epochs = self.state.position, self.config.train.epochs
        done, total = position.epoch * epoch_batches + position.batch, epochs * epoch_batches
        self.progress(done, total, f"epoch {position.epoch + 1} of {epochs}, {self._loss_text()}")

    def _train_step(self, windows: WindowBatch) -> None:
        state = self.state
        state.position.step += 1
        losses = compute_gradients(
            state, self.examples, windows, self.config, self.ranks, self.execution.gradient_accumulation
        )
        self._check_finite(sum(float(loss) for loss in losses.values()))
        optimizer_step(state)
        for kind, loss in losses.items():
            state.loss_sums[kind] = state.loss_sums.get(kind, torch.zeros(())) + loss
        state.position.batch += 1

    def _check_finite(self, loss: float) -> None:
        if not math.isfinite(loss):
            position, before = self.state.position, self._loss_text() or "no loss"
            raise MultitudesError(
                f"the loss is {loss} at epoch {position.epoch + 1}, step {position.step} ({before} before);"
                f" stopped, nothing after epoch {position.epoch} is kept. Lower learning_rate in [train]"
            )

    def _loss_text(self) -> str:
        """Return the mean losses of the epoch so far, as text."""
        done = self.state.position.batch
        return ", ".join(f"{kind} loss {float(s) / done:.3f}" for kind, s in self.state.loss_sums.items())

    def _finish_epoch(self, targets_per_s: float) -> None:
        position = self.state.position
        rate = 0.0
        with gather_item_table(self.state.model, self.ranks):
            if self.ranks.is_first:
                run = self._run()
                rate = hit_rate(run, self.validation_users, self.config.train.eval_k, run.blend)
        rate = self.ranks.broadcast([rate])[0]
        # Without validation the last epoch is the best.
        is_best = rate > position.best_hit_rate or not len(self.validation_users)
        if is_best:
            position.best_hit_rate, position.best_epoch = rate, position.epoch
        record = {
            "epoch": position.epoch + 1,
            "step": position.step,
            "loss": {kind: float(s) / position.batch for kind, s in self.state.loss_sums.items()},
            "validation_hit_rate": rate,
            "validate_at": self.config.train.eval_k,
            "targets_per_s": round(targets_per_s, 1),
            "seconds": round(position.seconds, 3),
        }
        if self.ranks.is_first:
            append_metrics(self.out / "metrics.jsonl", record)
        position.epoch, position.batch = position.epoch + 1, 0
        self.state.loss_sums = {}
        self._save(best=is_best)
        self.on_epoch(record)


def _check_divisible(prepared: PreparedData, config: RunConfig, micro_batches: int, ranks: Ranks) -> None:
    """Check that a batch and the item table can be divided among the ranks and micro batches."""
    if micro_batches > config.train.batch_size:
        raise UsageError(
            f"{ranks.size} ranks, each with {micro_batches // ranks.size} micro batches, for a batch of"
            f" {config.train.batch_size} rows: each micro batch needs a row; start fewer ranks, or lower [execution]"
            " gradient_accumulation"
        )
    if micro_batches > 1 and implicit_method(config.method, config.model) == "subsequence":
        raise UsageError(
            "subsequences need the items of a whole batch to update their concepts: train with one rank and"
            " [execution] gradient_accumulation = 1"
        )
    rows = prepared.n_items + 1
    if ranks.rows_per_rank(rows) * (ranks.size - 1) >= rows:
        raise UsageError(f"{ranks.size} ranks for a table of {rows} rows: each rank needs a row; start fewer")


@contextmanager
def _defer_interrupt() -> Iterator[list[bool]]:
    """Turn Ctrl-C into an entry of the yielded list, so that the current step ends and its state can be saved."""
    interrupts: list[bool] = []

    def record(signum: int, frame: FrameType | None) -> None:
        del signum, frame
        interrupts.append(True)

    try:
        previous = signal.signal(signal.SIGINT, record)
    except ValueError:  # not in the main thread: the caller handles Ctrl-C
        yield interrupts
        return
    try:
        yield interrupts
    finally:
        signal.signal(signal.SIGINT, previous)
