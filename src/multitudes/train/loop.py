"""The training loop: epochs of batches, validation with early stopping, interruption and resumption."""

import json
import math
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import numpy as np
import torch
from safetensors.torch import save_file

from multitudes import __version__
from multitudes.batches.examples import Batch, Examples
from multitudes.batches.frequency import StreamingFrequency
from multitudes.batches.held_out import HeldOut, held_out
from multitudes.batches.negatives import draw_pool, log_inclusion
from multitudes.data.prepared import Prepared
from multitudes.errors import MultitudesError, UsageError
from multitudes.progress import Progress, silent
from multitudes.seeding import generator, stream_seed
from multitudes.train import checkpoint
from multitudes.train.build import build_model
from multitudes.train.checkpoint import Position, State
from multitudes.train.config import RunConfig
from multitudes.train.objective import batch_loss, total
from multitudes.train.run import FORMAT, FORMAT_VERSION, TrainedRun, data_digest, read_record, weights
from multitudes.train.validation import judge, sample_rows

GRADIENT_NORM = 5.0  # gradients are cut to this length


def train(
    prepared: Prepared, config: RunConfig, out: Path, *, resume: bool = False, progress: Progress = silent
) -> TrainedRun:
    """Train ``config.method`` on ``prepared`` and write the run folder ``out``.

    Same data, configuration and machine give identical weights, whether or not training was interrupted on the way.

    Raises:
        UsageError: ``out`` exists and ``resume`` is off, or it was begun with other settings or data.
        MultitudesError: the loss is no longer finite.
        KeyboardInterrupt: after Ctrl-C, once the state is saved.
    """
    if not _begin(prepared, config, out, resume):
        return TrainedRun.open(out)
    state = _fresh_state(prepared, config)
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
        )
        self.held: HeldOut = held_out(prepared, "validation")
        self.rows = sample_rows(self.held, settings.validate_users, config.seed)

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
            targets += int((batch.target_BW > 0).sum())
            self.progress(position.batch, batches, f"epoch {position.epoch + 1}, {self._note()}")
            if interrupted:
                position.seconds += time.perf_counter() - began
                return False
        seconds = time.perf_counter() - began
        position.seconds += seconds
        self._end_of_epoch(targets / max(seconds, 1e-9))
        return True

    def _step(self, batch: Batch) -> None:
        position, settings, model = self.state.position, self.config.train, self.state.model
        position.step += 1
        position.batch += 1
        torch.manual_seed(stream_seed(self.config.seed, "dropout", position.step))
        random = torch.Generator().manual_seed(stream_seed(self.config.seed, "routing", position.step))
        n_items = self.run_view.prepared.n_items
        pool = draw_pool(
            batch.target_BW[batch.target_BW > 0],
            n_items,
            settings.in_batch,
            settings.uniform,
            self.state.frequency,
            position.step,
            generator(self.config.seed, "negatives", position.step),
        )
        log_q_BW = log_inclusion(
            batch.target_BW.ravel(), n_items, settings.uniform, self.state.frequency, use_batch=settings.in_batch > 0
        ).reshape(batch.target_BW.shape)
        model.train()
        losses = batch_loss(model, batch, pool, log_q_BW, settings, random)
        loss = total(losses, settings)
        self._check_finite(loss.item())
        for optimizer in self.state.optimizers:
            optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        dense = [p for p in model.parameters() if p is not model.items.id_embedding.weight]
        torch.nn.utils.clip_grad_norm_(dense, GRADIENT_NORM)
        for optimizer in self.state.optimizers:
            optimizer.step()
        for kind, value in losses.items():
            self.state.loss_sums[kind] = self.state.loss_sums.get(kind, torch.zeros(())) + value.detach().cpu()

    def _check_finite(self, loss: float) -> None:
        if not math.isfinite(loss):
            position = self.state.position
            raise MultitudesError(
                f"the loss is {loss} at epoch {position.epoch + 1}, step {position.step} ({self._note()} before);"
                f" stopped, nothing after epoch {position.epoch} is kept. Lower learning_rate in [train]"
            )

    def _note(self) -> str:
        done = max(self.state.position.batch - 1, 1)
        return ", ".join(f"{kind} loss {float(s) / done:.3f}" for kind, s in self.state.loss_sums.items())

    def _end_of_epoch(self, targets_per_s: float) -> None:
        position = self.state.position
        self.run_view = TrainedRun(self.out, self.run_view.prepared, self.config, self.state.model)
        rate, shares = judge(self.run_view, self.held, self.rows)
        if rate > position.best_hit_rate:
            position.best_hit_rate, position.best_epoch = rate, position.epoch
            position.best_shares = {str(kind): share for kind, share in shares.items()}
            self.state.best = {name: tensor.clone() for name, tensor in weights(self.state.model).items()}
        record = {
            "epoch": position.epoch + 1,
            "step": position.step,
            "loss": {kind: float(s) / position.batch for kind, s in self.state.loss_sums.items()},
            "validation_hr@100": rate,
            "shares": shares,
            "targets_per_s": round(targets_per_s, 1),
            "seconds": round(position.seconds, 3),
        }
        _append_metrics(self.out / "metrics.jsonl", record)
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
            "validation_hr@100": position.best_hit_rate,
            "shares": position.best_shares,
        }
        _write_record(self.out, record)
        shutil.rmtree(self.out / "checkpoint", ignore_errors=True)


def _begin(prepared: Prepared, config: RunConfig, out: Path, resume: bool) -> bool:
    """Make the run folder, or check that it can be resumed; return False if it is finished already."""
    settings = config.model_dump(mode="json")
    if not out.exists():
        out.mkdir(parents=True)
        _write_record(out, _record(prepared, settings))
        return True
    if not resume:
        raise UsageError(f"{out}: exists; give another --out, go on with --resume, or replace it with --overwrite")
    record = read_record(out)
    if record["config"] != settings or record["prepared_digest"] != data_digest(prepared):
        raise UsageError(f"{out}: was begun with other settings or data; resume with the same, or use --overwrite")
    return not record["finished"]


def _record(prepared: Prepared, settings: dict[str, object]) -> dict[str, object]:
    return {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "finished": False,
        "prepared": str(prepared.path.resolve()),
        "prepared_digest": data_digest(prepared),
        "config": settings,
        "versions": {"multitudes": __version__, "torch": str(torch.__version__), "numpy": np.__version__},
    }


def _write_record(out: Path, record: dict[str, object]) -> None:
    partial = out / "run.json.partial"
    partial.write_text(json.dumps(record, indent=1, sort_keys=True), encoding="utf-8")
    partial.replace(out / "run.json")


def _append_metrics(file: Path, record: dict[str, object]) -> None:
    """Add the line of an epoch; a line of the same epoch left by a killed session is replaced."""
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    kept = [line for line in lines if json.loads(line)["epoch"] < record["epoch"]]
    partial = file.with_name(file.name + ".partial")
    partial.write_text("\n".join([*kept, json.dumps(record)]) + "\n", encoding="utf-8")
    partial.replace(file)


def _fresh_state(prepared: Prepared, config: RunConfig) -> State:
    torch.manual_seed(stream_seed(config.seed, "weights"))
    model = build_model(prepared, config.method, config.model).to(_device(config.train.device))
    sparse = [model.items.id_embedding.weight]
    dense = [p for p in model.parameters() if p is not sparse[0]]
    settings = config.train
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(dense, lr=settings.learning_rate, weight_decay=settings.weight_decay),
        torch.optim.SparseAdam(sparse, lr=settings.learning_rate),
    ]
    frequency = StreamingFrequency.start(prepared.n_items, settings.in_batch)
    return State(model, optimizers, frequency, best={}, loss_sums={}, position=Position())


def _device(name: str) -> torch.device:
    if name == "cuda" and not torch.cuda.is_available():
        raise UsageError("[train] device = 'cuda': torch sees no GPU here; use 'auto' or 'cpu'")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


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
