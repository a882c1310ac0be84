"""The ranker that all arms share: it sees what users want through noise, the same noise in every arm.

Legend: B visitors · N candidates · S slots.

One arm's life in the world: day by day, from the same state whether it was interrupted or not.

Legend: S slots · U users.

How far a whole experiment is, in days, while trainings in between say how far they are.

One arm from its first morning to its last: learns, serves a day, lets new items in, learns again.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from multitudes.locks import lock
from multitudes.progress import Progress
from multitudes.retrieval.item_updates import add_items
from multitudes.retrieval.retriever import Retriever
from multitudes.simulation import day_log, retraining
from multitudes.simulation import policy as inverted
from multitudes.simulation.actions import Actions
from multitudes.simulation.config import ExperimentConfig, LoopConfig
from multitudes.simulation.day_log import DayRecord, Visits, day_file_name
from multitudes.simulation.draws import normal
from multitudes.simulation.history import History, ImpressionCounts
from multitudes.simulation.policy import Policy
from multitudes.simulation.release_policy import ReleasePolicy
from multitudes.simulation.world import World
from multitudes.simulation.world_config import day_start_s


def rank_candidates(
    seed: int,
    day: int,
    user_B: NDArray[np.int64],
    item_BN: NDArray[np.int64],
    appeal_BN: NDArray[np.float32],
    slots: int,
    noise: float,
) -> NDArray[np.int64]:
    """Return which candidates are shown, best first (B, S): positions in N, empty candidates last.

    Args:
        seed: of the world.
        day: the noise is drawn anew each day.
        user_B: who looks.
        item_BN: the candidates.
        appeal_BN: what each is worth to them; -inf where there is none.
        slots: S.
        noise: deviation of what the ranker does not see.
    """
    unseen_BN = noise * normal(seed, "ranker", day, user_B[:, None], item_BN)
    return np.argsort(-(appeal_BN + unseen_BN), axis=1, kind="stable")[:, :slots]


class ArmSimulation:
    """The users of an arm: what they did, what they were shown, and how they feel about it."""

    def __init__(self, world: World, loop: LoopConfig, logs: Path) -> None:
        """Begin after the past, in which there was no feed.

        Args:
            world: whose users they are.
            loop: how many candidates and slots there are.
            logs: folder of the days.
        """
        self.history = History(world.users)
        self._world, self._loop, self._logs = world, loop, logs
        self._mood_U = np.zeros(world.users, dtype=np.float32)
        self._impressions = ImpressionCounts(world.items)
        self.history.add(*(world.organic_actions(day) for day in range(-loop.past_days, 0)))

    def simulate_day(self, day: int, policy: Callable[[], Policy]) -> int:
        """Live a day and write it down, or be as after it where it was lived before; ``policy`` is asked then alone.

        Returns:
            How many users were shown anything.
        """
        organic = self._world.organic_actions(day)
        self.history.add(organic)  # what was saved before a visit of the day is known at the visit
        if day_log.is_written(self._logs, day):
            visits = day_log.read_visits(self._logs, day, self._loop.slots)
        else:
            lived = self._new_day(day, policy(), organic)
            day_log.write_day(self._logs, lived, self._world.topics)
            visits = lived.visits
        served_B = (visits.item_BS >= 0).any(axis=1)  # who was shown nothing is in no log
        self._impressions.add(visits.user_B, visits.item_BS)
        self._mood_U = self._world.update_mood(self._mood_U, visits.user_B[served_B], visits.action_BS[served_B])
        self.history.add(visits.actions)
        return int(served_B.sum())

    def _new_day(self, day: int, policy: Policy, organic: Actions) -> DayRecord:
        world, loop = self._world, self._loop
        user_B = world.visitors(day, self._mood_U)
        time_B = world.visit_times(day, user_B)
        slates = policy.retrieve(day, user_B, time_B, self.history)
        appeal_BN = world.appeal(day, user_B, slates.item_BN)
        place_BS = rank_candidates(
            world.config.seed, day, user_B, slates.item_BN, appeal_BN, loop.slots, loop.ranker_noise
        )
        item_BS = np.take_along_axis(slates.item_BN, place_BS, axis=1)
        appeal_BS = np.take_along_axis(appeal_BN, place_BS, axis=1)
        action_BS = world.draw_reactions(day, user_B, item_BS, appeal_BS, self._impressions.counts(user_B, item_BS))
        return DayRecord(day, Visits(user_B, time_B, item_BS, action_BS), slates, place_BS, organic, policy.name)


class SimulationProgress:
    """Counts the days of all arms and seeds."""

    def __init__(self, progress: Progress, days: int) -> None:
        """Tell ``progress`` of ``days`` in all."""
        self._progress, self._days, self._done = progress, days, 0

    def finish_day(self, note: str) -> None:
        """One more day is lived."""
        self._done += 1
        self._progress(self._done, self._days, note)

    def training_progress(self, title: str) -> Progress:
        """Return what work between two days tells how far it is: that is said, and no day is counted."""

        def report(done: int, total: int, note: str = "") -> None:
            self._progress(self._done, self._days, f"{title}, training {done}/{total} {note}".rstrip())

        return report


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
        self._items_day = self._first  # the day whose items the release knows
        self._policy: Policy | None = None

    @property
    def _first(self) -> int:
        return self._config.loop.bootstrap_days

    def run(self, progress: SimulationProgress, *, wait: bool = False) -> bool:
        """Live every day of the test that is not lived yet; return False where another process does.

        Args:
            progress: told after each day.
            wait: for the other process, and do what it left.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        with lock(self._folder / ".lock", wait=wait) as had:
            if had:
                self._run(progress)
        return had

    def _run(self, progress: SimulationProgress) -> None:
        _link_days(self._seed / "bootstrap", self._logs, range(self._first))
        loop, life = self._config.loop, ArmSimulation(self._world, self._config.loop, self._logs)
        for day in range(self._first + loop.days):
            life.simulate_day(day, partial(self._policy_on, day, progress))
            if day >= self._first:
                progress.finish_day(f"{self._title}, day {day}")

    @property
    def _title(self) -> str:
        return f"seed {self._world.config.seed}, {self._name}"

    def _policy_on(self, day: int, progress: SimulationProgress) -> Policy:
        """Return what serves on a day, with the items that have appeared until then."""
        morning = self._training_day(day)
        if self._policy is None or morning == day:
            self._policy = self._new_policy(morning, progress)
        if isinstance(self._policy, ReleasePolicy):
            self._add_new_items(day, self._policy)
        return self._policy

    def _training_day(self, day: int) -> int:
        """Return the morning on which what serves on ``day`` was learned."""
        every = self._config.loop.retrain_every
        return self._first + ((day - self._first) // every * every if every else 0)

    def _new_policy(self, morning: int, progress: SimulationProgress) -> Policy:
        own, n = self._config.arms[self._name], self._config.loop.candidates
        if own.policy is not None:
            return (
                inverted.popularity_policy(self._world, n)
                if own.policy == "popular"
                else inverted.InvertedIndexPolicy(self._world, n)
            )
        run = self._train(morning, progress)
        retrieve = self._config.retrieve_config(self._name)
        retraining.publish_release(run, self._releases, morning, retrieve, self._config.index)
        self._items_day = morning
        return ReleasePolicy(Retriever.open(self._releases), n, self._world.topics, day_start_s(morning))

    def _train(self, morning: int, progress: SimulationProgress) -> Path:
        """Return what is trained for a morning: the first time on the logs that all arms have in common."""
        past, run = self._config.loop.past_days, self._config.run_config(self._name, self._world.config.seed)
        folder, logs, name = self._folder / f"learned-{morning:05d}", self._logs, self._name
        if morning == self._first:
            folder, logs, name = self._seed / "learned", self._seed / "bootstrap", self._config.arms[name].like or name
        folder.mkdir(exist_ok=True)
        with lock(folder / ".lock"):
            prepared = retraining.prepare_arm(self._world, morning, past, logs, folder)
        with lock(folder / f".{name}.lock"):
            return retraining.train_run(prepared, run, folder / "runs" / name, progress.training_progress(self._title))

    def _add_new_items(self, day: int, policy: ReleasePolicy) -> None:
        """Add the items that appeared since the last day to the release, as ``multitudes items add`` does."""
        there = self._world.items_table(day)
        born = self._world.created_I[there["item_id"].to_numpy()]
        new = there.filter(pl.Series(born > self._items_day))
        self._items_day = day
        if len(new):
            file = self._folder / "new-items.parquet"
            new.write_parquet(file)
            add_items(self._releases, file)
            policy.refresh()


def _link_days(source: Path, target: Path, days: range) -> None:
    """Have the days of one folder of logs in another one too."""
    for log in ("served", "events"):
        (target / log).mkdir(parents=True, exist_ok=True)
        for day in days:
            file = target / log / day_file_name(day)
            if not file.exists():
                file.hardlink_to(source / log / day_file_name(day))
