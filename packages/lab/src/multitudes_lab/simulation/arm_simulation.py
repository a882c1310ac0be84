"""One arm of a simulated experiment: it trains, serves a day, adds new items, and trains again.

``ArmSimulation`` is the state of an arm's users. It is rebuilt from the logged days, so an interrupted arm continues as
if nothing had happened.

Legend: B visitors · N candidates · S slots · U users.
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
from multitudes.training.loop import train
from multitudes_lab.simulation import day_log, retraining
from multitudes_lab.simulation.actions import Actions
from multitudes_lab.simulation.config import ExperimentConfig, LoopConfig
from multitudes_lab.simulation.day_log import DayRecord, Visits, day_file_name
from multitudes_lab.simulation.draws import normal
from multitudes_lab.simulation.history import History, ImpressionCounts
from multitudes_lab.simulation.learned_ranker import LearnedRanker, fit_ranker
from multitudes_lab.simulation.policy import InvertedIndexPolicy, Policy
from multitudes_lab.simulation.release_policy import ReleasePolicy
from multitudes_lab.simulation.world import World
from multitudes_lab.simulation.world_config import day_start_s

_TIE_NOISE = 1e-3  # orders by chance what the learned ranker does not tell apart


def rank_candidates(
    seed: int,
    day: int,
    user_B: NDArray[np.int64],
    item_BN: NDArray[np.int64],
    score_BN: NDArray[np.float32],
    slots: int,
    noise: float,
) -> NDArray[np.int64]:
    """Return which candidates are shown, best first (B, S): places among the N candidates, empty ones last.

    Their score is -inf where a place is empty. The noise is drawn anew each ``day``, and is the same in every arm.
    """
    noise_BN = noise * normal(seed, "ranker", day, user_B[:, None], item_BN)
    return np.argsort(-(score_BN + noise_BN), axis=1, kind="stable")[:, :slots]


class ArmSimulation:
    """The users of an arm: their history, what was shown to them, and their mood."""

    def __init__(self, world: World, loop: LoopConfig, logs: Path) -> None:
        """Begin after the past, in which there was no feed; ``logs`` is the folder of the logged days."""
        self.history = History(world.users)
        self._world, self._loop, self._logs = world, loop, logs
        self._mood_U = np.zeros(world.users, dtype=np.float32)
        self._impressions = ImpressionCounts(world.items)
        self._ranker: tuple[int, LearnedRanker] | None = None  # with the day of its training
        self.history.add(*(world.organic_actions(day) for day in range(-loop.past_days, 0)))

    def simulate_day(self, day: int, policy: Callable[[], Policy]) -> int:
        """Simulate and log the next day, or restore the state after it if it is logged.

        ``policy`` is called only if the day is not logged. Return the number of users that were shown an item.
        """
        organic = self._world.organic_actions(day)
        self.history.add(organic)  # an organic save before a visit of the same day is known at the visit
        if (self._logs / "events" / day_file_name(day)).is_file():
            visits = day_log.read_visits(self._logs, day, self._loop.slots)
        else:
            record = self._new_day(day, policy(), organic)
            day_log.write_day(self._logs, record, self._world.topics)
            visits = record.visits
        served_B = (visits.item_BS >= 0).any(axis=1)  # visitors who were shown nothing are in no log
        self._impressions.add(visits.user_B, visits.item_BS)
        self._mood_U = self._world.update_mood(self._mood_U, visits.user_B[served_B], visits.action_BS[served_B])
        self.history.add(visits.actions)
        return int(served_B.sum())

    def _new_day(self, day: int, policy: Policy, organic: Actions) -> DayRecord:
        world, loop = self._world, self._loop
        user_B = world.visitors(day, self._mood_U)
        time_B = world.visit_times(day, user_B)
        candidates = policy.retrieve(day, user_B, time_B, self.history)
        appeal_BN = world.appeal(day, user_B, candidates.item_BN)
        knows = loop.ranker == "knows"
        score_BN = appeal_BN if knows else self._learned_scores(day, user_B, candidates.item_BN)
        noise = loop.ranker_noise if knows else _TIE_NOISE
        place_BS = rank_candidates(world.config.seed, day, user_B, candidates.item_BN, score_BN, loop.slots, noise)
        item_BS = np.take_along_axis(candidates.item_BN, place_BS, axis=1)
        appeal_BS = np.take_along_axis(appeal_BN, place_BS, axis=1)
        action_BS = world.draw_reactions(day, user_B, item_BS, appeal_BS, self._impressions.counts(user_B, item_BS))
        return DayRecord(day, Visits(user_B, time_B, item_BS, action_BS), candidates, place_BS, organic, policy.name)

    def _learned_scores(self, day: int, user_B: NDArray[np.int64], item_BN: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return what the learned ranker thinks of candidates; nothing in the bootstrap."""
        world, loop = self._world, self._loop
        if day < loop.bootstrap_days:
            return np.where(item_BN < 0, -np.inf, 0).astype(np.float32)
        trained, done = loop.training_day(day), self.history.all_actions
        if self._ranker is None or self._ranker[0] != trained:
            visits = [day_log.read_visits(self._logs, earlier, loop.slots) for earlier in range(trained)]
            self._ranker = trained, fit_ranker(world, visits, done)
        ranker, seen_BN = self._ranker[1], self._impressions.counts(user_B, item_BN)
        score_BN = ranker.features(day, user_B, item_BN, done, seen_BN) @ ranker.weight_F
        return np.where(item_BN < 0, -np.inf, score_BN).astype(np.float32)


class SimulationProgress:
    """Progress in days over all arms and seeds."""

    def __init__(self, progress: Progress, days: int) -> None:
        """Report to ``progress`` with ``days`` as the total."""
        self._progress, self._days, self._done = progress, days, 0

    def finish_day(self, note: str) -> None:
        """Count one more day."""
        self._done += 1
        self._progress(self._done, self._days, note)

    def training_progress(self, title: str) -> Progress:
        """Return a callback for a training between two days: it reports the training and counts no day."""

        def report(done: int, total: int, note: str = "") -> None:
            self._progress(self._done, self._days, f"{title}, training {done}/{total} {note}".rstrip())

        return report


class Arm:
    """One arm in one world."""

    def __init__(self, name: str, config: ExperimentConfig, world: World, seed: Path) -> None:
        """Begin or continue the arm ``name`` of an experiment in a world; ``seed`` is the folder of that world."""
        self._name, self._config, self._world, self._seed = name, config, world, seed
        self._title = f"seed {world.config.seed}, {name}"
        self._folder = seed / "arms" / name
        self._releases, self._logs = self._folder / "releases", self._folder / "logs"
        self._first = config.loop.bootstrap_days
        self._items_day = self._first  # the day up to which the release knows all items
        self._policy: Policy | None = None

    def run(self, progress: SimulationProgress, *, wait: bool = False) -> bool:
        """Simulate every day of the test that is not logged; return False if another process runs this arm.

        With ``wait``, wait for the other process, and do what it left.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        with lock(self._folder / ".lock", wait=wait) as is_ours:
            if is_ours:
                self._run(progress)
        return is_ours

    def _run(self, progress: SimulationProgress) -> None:
        _link_days(self._seed / "bootstrap", self._logs, range(self._first))
        loop, simulation = self._config.loop, ArmSimulation(self._world, self._config.loop, self._logs)
        for day in range(self._first + loop.days):
            simulation.simulate_day(day, partial(self._policy_on, day, progress))
            if day >= self._first:
                progress.finish_day(f"{self._title}, day {day}")

    def _policy_on(self, day: int, progress: SimulationProgress) -> Policy:
        """Return the policy of a day, which knows the items that exist by then."""
        training_day = self._config.loop.training_day(day)
        if self._policy is None or training_day == day:
            self._policy = self._new_policy(training_day, progress)
        if isinstance(self._policy, ReleasePolicy):
            self._add_new_items(day, self._policy)
        return self._policy

    def _new_policy(self, training_day: int, progress: SimulationProgress) -> Policy:
        arm, n = self._config.arms[self._name], self._config.loop.candidates
        if arm.policy is not None:
            return InvertedIndexPolicy(self._world, n, arm.policy)
        run = self._train(training_day, progress)
        retrieve = self._config.retrieve_config(self._name)
        retraining.publish_release(run, self._releases, training_day, retrieve, self._config.index)
        self._items_day = training_day
        reranker = None if arm.rerank is None else retraining.fit_reranker(arm.rerank, run, retrieve, n)
        return ReleasePolicy(Retriever.open(self._releases), n, self._world.topics, day_start_s(training_day), reranker)

    def _train(self, training_day: int, progress: SimulationProgress) -> Path:
        """Return the run trained on the morning of a day; the first one learns from the logs that all arms share."""
        past, config = self._config.loop.past_days, self._config.run_config(self._name, self._world.config.seed)
        folder, logs, name = self._folder / f"learned-{training_day:05d}", self._logs, self._name
        if training_day == self._first:
            folder, logs, name = self._seed / "learned", self._seed / "bootstrap", self._config.arms[name].like or name
        folder.mkdir(exist_ok=True)
        with lock(folder / ".lock"):
            prepared = retraining.prepare_arm(self._world, training_day, past, logs, folder)
        with lock(folder / f".{name}.lock"):
            run, told = folder / "runs" / name, progress.training_progress(self._title)
            return train(prepared, config, run, resume=run.exists(), progress=told).path

    def _add_new_items(self, day: int, policy: ReleasePolicy) -> None:
        """Add the items that appeared since the last day to the release, as ``multitudes items add`` does."""
        items = self._world.items_table(day)
        created = self._world.created_I[items["item_id"].to_numpy()]
        new = items.filter(pl.Series(created > self._items_day))
        self._items_day = day
        if len(new):
            file = self._folder / "new-items.parquet"
            new.write_parquet(file)
            add_items(self._releases, file)
            policy.refresh()


def _link_days(source: Path, target: Path, days: range) -> None:
    """Hard-link the days of one folder of logs into another."""
    for log in ("served", "events"):
        (target / log).mkdir(parents=True, exist_ok=True)
        for day in days:
            file = target / log / day_file_name(day)
            if not file.exists():
                file.hardlink_to(source / log / day_file_name(day))
