"""A peer that any environment can run: the most popular training items, whatever the user did. See test_peers."""

import sys
from pathlib import Path

import numpy as np
from benchmarks.peers.exchange import Clock, Report, read_task, top_items


def main(folder: Path, variant: str) -> None:
    if variant == "broken":
        sys.exit("no peer here")
    task, settings = read_task(folder)
    events = np.bincount(task.train.item, minlength=task.n_items + 1)
    pairs = np.unique(np.stack([task.train.owners(), task.train.item]), axis=1)
    users = np.bincount(pairs[1], minlength=task.n_items + 1)
    score_BI = np.repeat(-np.lexsort((-events, -users)).argsort()[None].astype(np.float32), len(task.held.user), axis=0)
    report, clock = Report(folder, ("numpy",)), Clock()
    while report.more(settings):
        clock.start()
        # The epochs in the middle answer backwards: the best one has to be found.
        turned = -score_BI if report.done == 1 else score_BI.copy()
        report.epoch(len(task.train.item), clock.read(), top_items(turned, task.held, settings.places))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
