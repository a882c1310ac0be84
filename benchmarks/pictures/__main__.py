"""``python -m benchmarks.pictures [name …] [--work FOLDER]``: train each method, draw what it makes of one user."""

import argparse
import re
import tempfile
from pathlib import Path

import altair as alt

from benchmarks.machine import ROOT
from benchmarks.pictures.chart import lists_chart, user_chart
from benchmarks.pictures.user import PlantedUser, cluster_embeddings, prepare_planted, train_method
from multitudes.batches.held_out import seen_items
from multitudes.batches.user_vectors import UserVectors
from multitudes.evaluation.baselines import Baselines
from multitudes.evaluation.protocol import average_vectors
from multitudes.nn.methods import METHODS
from multitudes.report.html_elements import svg
from multitudes.retrieval.config import RetrieveConfig, with_run_defaults
from multitudes.retrieval.scorer import Scorer

OUT = ROOT / "docs" / "methods"
AVERAGED, PINNERSAGE, COUNTING = "averaged", "pinnersage", "counting"  # what is drawn beside the trained methods
NAMES = (*METHODS, AVERAGED, PINNERSAGE, COUNTING)
LISTED = 20  # items of a list that are drawn


def main() -> None:
    """Draw the named pictures, all by default."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pictures", description="Draw docs/methods/*.svg.")
    parser.add_argument("names", nargs="*", metavar="name", help=f"{', '.join(NAMES)}; none: all")
    parser.add_argument("--work", type=Path, help="folder of the trained runs, to draw again without training")
    given = parser.parse_args()
    unknown = [name for name in given.names if name not in NAMES]
    if unknown:
        parser.error(f"unknown picture '{unknown[0]}'; known: {', '.join(NAMES)}")
    with tempfile.TemporaryDirectory(prefix="multitudes-pictures-") as scratch:
        work = (given.work or Path(scratch)).resolve()
        studio = Studio(work)
        for name in given.names or NAMES:
            (OUT / f"{name}.svg").write_text(round_numbers(studio.drawn(name)) + "\n", encoding="utf-8")
            print(f"{OUT / name}.svg")


class Studio:
    """One planted user and the runs that are asked about it, each trained once."""

    def __init__(self, work: Path) -> None:
        self.work = work
        self.person = PlantedUser(prepare_planted(work))

    def drawn(self, name: str) -> str:
        """Return the picture ``name`` as SVG."""
        if name == COUNTING:
            return svg(self._lists())
        run = self._run("clustering" if name == AVERAGED else name)
        vectors = self.person.vectors(run)
        if name == AVERAGED:
            return svg(self._average(run, vectors))
        seen = self.person.seen(vectors, run.item_vectors())
        heading = [f"{name}: {format_count(seen.vectors)}", *self._agreement(vectors)]
        return svg(user_chart(seen, self.person.topic_names(), heading))

    def _run(self, name: str) -> Scorer:
        if name != PINNERSAGE:
            return train_method(self.person.prepared, name, self.work)
        self._run("single")
        return cluster_embeddings(self.person.prepared, self.work / "single", self.work)

    def _average(self, run: Scorer, vectors: UserVectors) -> alt.LayerChart:
        seen = self.person.seen(with_average(vectors, run), run.item_vectors())
        heading = ["averaged: the vectors of clustering as one query"]
        return user_chart(seen, self.person.topic_names(), heading, single="their average")

    def _lists(self) -> alt.ConcatChart:
        """Return the chart of the systems that count, in the plane of single's item vectors."""
        run, alone = self._run("single"), self.person.alone
        seen = self.person.seen(self.person.vectors(run), run.item_vectors())
        past = seen_items(self.person.prepared, alone)
        found = Baselines(self.person.prepared).lists(alone, past, "new", LISTED)
        heading = [f"the first {LISTED} unseen items that each proposes", "in the plane of single's item vectors"]
        return lists_chart(seen, {name: items[0] for name, items in found.items()}, heading)

    def _agreement(self, vectors: UserVectors) -> list[str]:
        if "implicit" not in vectors.kinds:
            return []
        mine, mean = self.person.agreement(vectors)
        mean = round(mean, 2) + 0.0  # no minus before a zero
        return [f"agreement with the tastes (adjusted Rand): {mine:.2f}; mean of all users: {mean:.2f}"]


def round_numbers(element: str) -> str:
    """Return an SVG whose coordinates have two decimals, which is all that can be seen: a third of the size."""
    return re.sub(r"\d+\.\d{3,}", lambda found: f"{float(found[0]):.2f}", element)


def format_count(mine: UserVectors) -> str:
    """Return how many vectors of each kind one user has."""
    kinds = [kind for kind, exists in zip(mine.kinds, mine.mask_BK[0], strict=True) if exists]
    return " + ".join(f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(kinds))


def with_average(vectors: UserVectors, run: Scorer) -> UserVectors:
    """Return the vectors of a run without an unconditioned one, and in its place the average of them all."""
    average = average_vectors(vectors, with_run_defaults(RetrieveConfig(), run.shares, run.blend, run.calibration))
    single = vectors.kinds.index("unconditioned")
    vectors_BKD = vectors.vectors_BKD.copy()
    vectors_BKD[:, single] = average.vectors_BKD[:, 0]
    return vectors._replace(vectors_BKD=vectors_BKD)


if __name__ == "__main__":
    main()
