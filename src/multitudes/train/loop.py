"""The training loop: epochs of batches, validation with early stopping, interruption and resumption."""

import math
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from itertools import islice
from pathlib import Path
from types import FrameType

import numpy as np
import torch

from multitudes.batches.examples import Examples
from multitudes.batches.held_out import HeldOut
from multitudes.batches.vectors import KINDS
from multitudes.batches.windows import Dealt
from multitudes.data.prepared import Prepared
from multitudes.errors import MultitudesError, UsageError
from multitudes.nn.methods import METHODS
from multitudes.progress import Progress, silent
from multitudes.train import checkpoint
from multitudes.train.allocator import give_back, keep_freed_memory
from multitudes.train.begin import begin, held, unfinished
from multitudes.train.checkpoint import Position, State
from multitudes.train.config import RunConfig
from multitudes.train.continuation import begin_with
from multitudes.train.data import judged_users, training_examples
from multitudes.train.execution import DEFAULT, ExecutionConfig, equip
from multitudes.train.finish import finish
from multitudes.train.parallel import ALONE, Ranks
from multitudes.train.record import append_metrics
from multitudes.train.run import TrainedRun
from multitudes.train.sharded import whole_table
from multitudes.train.step import descend, device, fresh_state, gradients
from multitudes.train.validation import Judgement, judge


def train(
    prepared: Prepared,
    config: RunConfig,
    out: str | Path,
    *,
    resume: bool = False,
    execution: ExecutionConfig = DEFAULT,
    progress: Progress = silent,
) -> TrainedRun:
    """Train as ``fit`` does, in this process alone, and open the run."""
    fit(prepared, config, out, resume=resume, execution=execution, progress=progress)
    return TrainedRun.open(out)


def fit(
    prepared: Prepared,
    config: RunConfig,
    out: str | Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    execution: ExecutionConfig = DEFAULT,
    ranks: Ranks = ALONE,
    progress: Progress = silent,
) -> None:
    """Train ``config.method`` on ``prepared`` and write the run folder ``out``, which all ranks must see.

    Same data, configuration, machine and number of ranks give identical weights, whether or not training was
    interrupted on the way. The process keeps the memory that it frees from then on (``train/allocator.py``).

    Raises:
        UsageError: ``out`` exists and ``resume`` and ``overwrite`` are off, it was begun with other settings or data,
            another process trains into it, the method cannot be trained by several ranks or in parts, or there is no
            such device.
        UnavailableError: another rank ended, or did not answer in time.
        MultitudesError: the loss is no longer finite.
        KeyboardInterrupt: after Ctrl-C, once the state is saved.
    """
    out = Path(out)
    # Before a folder is begun: what cannot be trained leaves none.
    _refuse_to_share(prepared, config, ranks.size * execution.parts, ranks)
    device(config.train.device)
    with held(out) if ranks.first else nullcontext():
        left = unfinished(prepared, config, out, resume=resume, overwrite=overwrite) if ranks.first else False
        if not ranks.tell([left])[0]:
            return
        examples, judged = training_examples(prepared, config), judged_users(prepared, config)
        state = fresh_state(prepared, config, ranks)
        keep_freed_memory()  # but not what making the whole table took
        equip(state.model, execution)
        if config.continues:
            begin_with(state, prepared, config, ranks)
        # Where there are no examples, or the run to go on from is damaged, no folder is begun.
        if ranks.first:
            begin(prepared, config, out, overwrite=overwrite)
        checkpoint.load(state, out / "checkpoint", ranks)
        _Loop(examples, judged, config, out, state, execution, ranks, progress).run()
        ranks.wait()


class _Loop:
    """One training session: what it needs is fixed at its start, what changes is in ``state``."""

    def __init__(
        self,
        examples: Examples,
        judged: HeldOut,
        config: RunConfig,
        out: Path,
        state: State,
        execution: ExecutionConfig,
        ranks: Ranks,
        progress: Progress,
    ) -> None:
        self.config, self.out, self.state, self.progress = config, out, state, progress
        self.execution, self.ranks = execution, ranks
        self.run_view = TrainedRun(out, examples.prepared, config, state.model)
        self.examples, self.judged = examples, judged

    def run(self) -> None:
        position = self.state.position
        with _deferred_interrupt() as interrupted:
            while position.epoch < self.config.train.epochs and not self._out_of_patience():
                if not self._epoch(interrupted):
                    self._save()
                    raise KeyboardInterrupt
        if self.ranks.first:
            finish(self.state, self.run_view, len(self.judged), keep_state=self.execution.keep_state)

    def _save(self, *, best: bool = False) -> None:
        checkpoint.save(self.state, self.out / "checkpoint", self.ranks, best=best)

    def _out_of_patience(self) -> bool:
        position = self.state.position
        return position.best_epoch >= 0 and position.epoch - 1 - position.best_epoch >= self.config.train.patience

    def _epoch(self, interrupted: list[bool]) -> bool:
        """Train one epoch from where it stands; return False if a person interrupted it."""
        position, seed, settings = self.state.position, self.config.seed, self.config.train
        size, most = settings.batch_size, settings.epoch_batches or None
        epoch = self.examples.windows.deal(size, seed, position.epoch, most)
        give_back()  # what dealing took
        clock, targets, seconds = _Clock(position), 0, position.seconds
        for dealt in islice(epoch, position.batch, None):
            self._step(dealt)
            targets += int((dealt.stop_B - dealt.start_B).sum())
            self.progress(position.batch, len(epoch), f"epoch {position.epoch + 1}, {self._note()}")
            clock.read()
            if self.ranks.any(bool(interrupted)):
                return False
            if self.execution.checkpoint_steps and position.step % self.execution.checkpoint_steps == 0:
                self._save()
        self._end_of_epoch(targets / max(position.seconds - seconds, 1e-9))
        return True

    def _step(self, dealt: Dealt) -> None:
        state = self.state
        state.position.step += 1
        losses = gradients(state, self.examples, dealt, self.config, self.ranks, self.execution.parts)
        self._check_finite(sum(float(loss) for loss in losses.values()))
        descend(state)
        for kind, loss in losses.items():
            state.loss_sums[kind] = state.loss_sums.get(kind, torch.zeros(())) + loss
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
        rate, shares = self._judge()
        best = rate > position.best_hit_rate or not len(self.judged)  # nothing to judge by: the last epoch is kept
        if best:
            position.best_hit_rate, position.best_epoch = rate, position.epoch
            position.best_shares = {str(kind): share for kind, share in (self.config.shares or shares).items()}
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
        if self.ranks.first:
            append_metrics(self.out / "metrics.jsonl", record)
        position.epoch, position.batch = position.epoch + 1, 0
        self.state.loss_sums = {}
        self._save(best=best)

    def _judge(self) -> Judgement:
        """Return what the first rank found, to all ranks."""
        found, state = [0.0] * (1 + len(KINDS)), self.state
        with whole_table(state.model, self.ranks):
            if self.ranks.first:
                self.run_view = TrainedRun(self.out, self.run_view.prepared, self.config, state.model)
                rate, shares = judge(
                    self.run_view, self.judged, np.arange(len(self.judged)), self.config.train.validate_at
                )
                found = [rate, *(shares[kind] for kind in KINDS)]
        rate, *told = self.ranks.tell(found)
        return Judgement(rate, dict(zip(KINDS, told, strict=True)))


class _Clock:
    """Adds the time that passes to the seconds of a position, at each reading."""

    def __init__(self, position: Position) -> None:
        self._position, self._last = position, time.perf_counter()

    def read(self) -> None:
        now = time.perf_counter()
        self._position.seconds += now - self._last
        self._last = now


def _refuse_to_share(prepared: Prepared, config: RunConfig, shares: int, ranks: Ranks) -> None:
    """Refuse what cannot be shared.

    Raises:
        UsageError: the method, or the number of ranks and parts.
    """
    if shares > config.train.batch_size:
        raise UsageError(
            f"{ranks.size} ranks, each in {shares // ranks.size} parts, for a batch of {config.train.batch_size} rows:"
            " each part needs some; start fewer ranks, or lower [execution] parts"
        )
    finds = METHODS[config.method].implicit
    if shares > 1 and "subsequence" in (finds, config.model.implicit if finds == "chosen" else None):
        raise UsageError(
            "subsequences are of concepts that follow the items of a whole batch: train them with one rank and"
            " [execution] parts = 1"
        )
    rows = prepared.n_items + 1
    if ranks.each(rows) * (ranks.size - 1) >= rows:
        raise UsageError(f"{ranks.size} ranks for a table of {rows} rows: each needs some; start fewer")


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
