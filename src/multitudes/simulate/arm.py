"""One arm from its first morning to its last: learns, serves a day, lets new items in, learns again."""

from functools import partial
from pathlib import Path

import polars as pl

from multitudes.locks import locked
from multitudes.retrieve.items import add_items
from multitudes.retrieve.retriever import Retriever
from multitudes.simulate import inverted, learning
from multitudes.simulate.config import ExperimentConfig
from multitudes.simulate.days import day_s
from multitudes.simulate.feed import name_of
from multitudes.simulate.life import Life
from multitudes.simulate.released import Released
from multitudes.simulate.slates import Policy
from multitudes.simulate.whole import Whole
from multitudes.simulate.world import World


class Arm:
    """One arm in one world."""

    def __init__(self, name: str, config: ExperimentConfig, world: World, seed: Path) -> None:
        """Go on with an arm, or begin it.

        Args:
            name: of the arm.
            config: the experiment.
            world: of this seed.
            seed: folder of everything of this seed.
        """
        self._name, self._config, self._world, self._seed = name, config, world, seed
        self._folder = seed / "arms" / name
        self._releases = self._folder / "releases"
        self._logs = self._folder / "logs"
        self._known_on = self._first  # the day whose items the release knows
        self._policy: Policy | None = None

    @property
    def _first(self) -> int:
        return self._config.loop.bootstrap_days

    def run(self, whole: Whole, *, wait: bool = False) -> bool:
        """Live every day of the test that is not lived yet; return False where another process does.

        Args:
            whole: told after each day.
            wait: for the other process, and do what it left.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        with locked(self._folder / ".lock", wait=wait) as had:
            if had:
                self._run(whole)
        return had

    def _run(self, whole: Whole) -> None:
        _linked(self._seed / "bootstrap", self._logs, range(self._first))
        loop, life = self._config.loop, Life(self._world, self._config.loop, self._logs)
        for day in range(self._first + loop.days):
            life.go_on(day, partial(self._serving, day, whole))
            if day >= self._first:
                whole.day(f"{self._title}, day {day}")

    @property
    def _title(self) -> str:
        return f"seed {self._world.config.seed}, {self._name}"

    def _serving(self, day: int, whole: Whole) -> Policy:
        """Return what serves on a day, with the items that have appeared until then."""
        morning = self._morning(day)
        if self._policy is None or morning == day:
            self._policy = self._learned(morning, whole)
        if isinstance(self._policy, Released):
            self._let_in(day, self._policy)
        return self._policy

    def _morning(self, day: int) -> int:
        """Return the morning on which what serves on ``day`` was learned."""
        every = self._config.loop.retrain_every
        return self._first + ((day - self._first) // every * every if every else 0)

    def _learned(self, morning: int, whole: Whole) -> Policy:
        own, n = self._config.arms[self._name], self._config.loop.candidates
        if own.policy is not None:
            return inverted.popular(self._world, n) if own.policy == "popular" else inverted.Inverted(self._world, n)
        run = self._trained(morning, whole)
        retrieve = self._config.retrieval_of(self._name)
        learning.release(run, self._releases, morning, retrieve, self._config.index)
        self._known_on = morning
        return Released(Retriever.open(self._releases), n, self._world.topics, day_s(morning))

    def _trained(self, morning: int, whole: Whole) -> Path:
        """Return what is trained for a morning: the first time on the logs that all arms have in common."""
        past, run = self._config.loop.past_days, self._config.run_of(self._name, self._world.config.seed)
        folder, logs, name = self._folder / f"learned-{morning:05d}", self._logs, self._name
        if morning == self._first:
            folder, logs, name = self._seed / "learned", self._seed / "bootstrap", self._config.arms[name].like or name
        folder.mkdir(exist_ok=True)
        with locked(folder / ".lock"):
            prepared = learning.prepared_of(self._world, morning, past, logs, folder)
        with locked(folder / f".{name}.lock"):
            return learning.trained(prepared, run, folder / "runs" / name, whole.within(self._title))

    def _let_in(self, day: int, policy: Released) -> None:
        """Add the items that appeared since the last day to the release, as ``multitudes items add`` does."""
        there = self._world.items_table(day)
        born = self._world.born_I[there["item_id"].to_numpy()]
        new = there.filter(pl.Series(born > self._known_on))
        self._known_on = day
        if len(new):
            file = self._folder / "new-items.parquet"
            new.write_parquet(file)
            add_items(self._releases, file)
            policy.look()


def _linked(source: Path, target: Path, days: range) -> None:
    """Have the days of one folder of logs in another one too."""
    for log in ("served", "events"):
        (target / log).mkdir(parents=True, exist_ok=True)
        for day in days:
            file = target / log / name_of(day)
            if not file.exists():
                file.hardlink_to(source / log / name_of(day))
