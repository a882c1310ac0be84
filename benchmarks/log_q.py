"""How often an item is drawn from a batch, against what the logQ correction takes for that probability.

::

    python -m benchmarks.log_q [PREPARED...]

Without a folder: 20,000 items whose popularity follows Zipf, 200,000 targets. Steps draw as training does. Printed
for groups of items by their number of targets in an epoch: the share of steps that drew an item, what counting the
targets gives, and the error of the streaming estimate in log q, with the uniform draws, after some numbers of steps.

Legend: I items · T targets.
"""

import sys
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from multitudes.batches.examples import Examples
from multitudes.batches.negatives import StreamingFrequency, draw_pool
from multitudes.data.prepared import PreparedData
from multitudes.seeding import generator
from multitudes.training.config import TrainConfig

ITEMS, TARGETS = 20_000, 200_000
BATCH_SIZE, EPOCH_BATCHES, REPORTED = 64, 150, (300, 1000, 2000, 4000)  # batches as in the studies; steps
GROUPS = ((1, 3), (3, 10), (10, 50), (50, 10**9))


def zipf_batches() -> tuple[NDArray[np.int64], Iterator[NDArray[np.int64]]]:
    """Return the targets of each Zipf item (I + 1,), and the positives of batches of 640 targets."""
    random = generator(0, "zipf")
    popularity = 1 / np.arange(1, ITEMS + 1)
    target_T = random.choice(np.arange(1, ITEMS + 1), size=TARGETS, p=popularity / popularity.sum())

    def batches() -> Iterator[NDArray[np.int64]]:
        while True:
            yield from np.array_split(random.permutation(target_T), TARGETS // (10 * BATCH_SIZE))

    return np.bincount(target_T, minlength=ITEMS + 1), batches()


def prepared_batches(path: str) -> tuple[NDArray[np.int64], Iterator[NDArray[np.int64]]]:
    """Return the targets of each item of a prepared folder (I + 1,), and the positives of batches, as in training."""
    prepared = PreparedData.open(path)
    examples = Examples(prepared, history=50, window=10, condition="auto")

    def batches() -> Iterator[NDArray[np.int64]]:
        for epoch in range(1, 1_000_000):
            for windows in examples.windows.epoch_batches(BATCH_SIZE, 0, epoch, EPOCH_BATCHES):
                yield examples.targets(windows)

    target_T = prepared.event_item[examples.position.to_array()]
    return np.bincount(target_T, minlength=prepared.n_items + 1), batches()


def report(name: str, targets_I: NDArray[np.int64], batches: Iterator[NDArray[np.int64]]) -> None:
    """Draw pools and print a line for each group of items."""
    train, n_items = TrainConfig(), len(targets_I) - 1
    random, every = generator(0, "negatives"), np.arange(n_items + 1)
    streaming = StreamingFrequency.uniform(n_items, train.in_batch)
    drawn_I, counted_I, errors = np.zeros(n_items + 1), np.zeros(n_items + 1), {}
    for step in range(1, max(REPORTED) + 1):
        positives = next(batches)
        share_I = 1 - (1 - min(train.in_batch, len(positives)) / targets_I.sum()) ** targets_I
        drawn_I[draw_pool(positives, n_items, train.in_batch, 0, streaming, step, random).item_N] += 1
        counted_I += share_I
        if step in REPORTED:
            errors[step] = _log_q(streaming.probability(every), train) - _log_q(share_I, train)
    print(f"{name}: {n_items:,} items")
    print("targets | items | drawn | counted | " + " | ".join(f"streaming - counted, {step} steps" for step in errors))
    for low, high in GROUPS:
        group = (targets_I >= low) & (targets_I < high)
        means = [f"{error[group].mean():+.3f}" for error in errors.values()]
        share, expected = drawn_I[group].mean() / step, counted_I[group].mean() / step
        print(" | ".join([f"{low} to {high - 1}", f"{group.sum():,}", f"{share:.4f}", f"{expected:.4f}", *means]))


def _log_q(share_I: NDArray[np.float64], train: TrainConfig) -> NDArray[np.float64]:
    """Return the log of the probability that the pool holds each item: drawn from the batch, or uniformly."""
    absent = (1 - 1 / (len(share_I) - 1)) ** train.uniform
    return np.log(np.maximum(1 - absent * (1 - share_I), 1e-12))


if __name__ == "__main__":
    if not sys.argv[1:]:
        report("Zipf", *zipf_batches())
    for folder in sys.argv[1:]:
        report(folder, *prepared_batches(folder))
