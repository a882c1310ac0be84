"""One arm's life in the world: day by day, from the same state whether it was interrupted or not.

Legend: S slots · U users.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from multitudes.simulate import feed
from multitudes.simulate.config import LoopConfig
from multitudes.simulate.diary import Diary
from multitudes.simulate.feed import Day, Visits
from multitudes.simulate.organic import Actions
from multitudes.simulate.ranker import shown
from multitudes.simulate.seen import Seen
from multitudes.simulate.slates import Policy
from multitudes.simulate.world import World


class Life:
    """The users of an arm: what they did, what they were shown, and how they feel about it."""

    def __init__(self, world: World, loop: LoopConfig, logs: Path) -> None:
        """Begin after the past, in which there was no feed.

        Args:
            world: whose users they are.
            loop: how many candidates and slots there are.
            logs: folder of the days.
        """
        self.diary = Diary(world.users)
        self._world, self._loop, self._logs = world, loop, logs
        self._mood_U = np.zeros(world.users, dtype=np.float32)
        self._seen = Seen(world.items)
        self.diary.add(*(world.organic(day) for day in range(-loop.past_days, 0)))

    def go_on(self, day: int, policy: Callable[[], Policy]) -> int:
        """Live a day and write it down, or be as after it where it was lived before; ``policy`` is asked then alone.

        Returns:
            How many users were shown anything.
        """
        organic = self._world.organic(day)
        self.diary.add(organic)  # what was saved before a visit of the day is known at the visit
        if feed.is_written(self._logs, day):
            visits = feed.read(self._logs, day, self._loop.slots)
        else:
            lived = self._lived(day, policy(), organic)
            feed.write(self._logs, lived, self._world.topics)
            visits = lived.visits
        served_B = (visits.item_BS >= 0).any(axis=1)  # who was shown nothing is in no log
        self._seen.add(visits.user_B, visits.item_BS)
        self._mood_U = self._world.mood(self._mood_U, visits.user_B[served_B], visits.action_BS[served_B])
        self.diary.add(visits.actions)
        return int(served_B.sum())

    def _lived(self, day: int, policy: Policy, organic: Actions) -> Day:
        world, loop = self._world, self._loop
        user_B = world.visitors(day, self._mood_U)
        time_B = world.visit_s(day, user_B)
        slates = policy.slates(day, user_B, time_B, self.diary)
        appeal_BN = world.appeal(day, user_B, slates.item_BN)
        place_BS = shown(world.config.seed, day, user_B, slates.item_BN, appeal_BN, loop.slots, loop.ranker_noise)
        item_BS = np.take_along_axis(slates.item_BN, place_BS, axis=1)
        appeal_BS = np.take_along_axis(appeal_BN, place_BS, axis=1)
        action_BS = world.react(day, user_B, item_BS, appeal_BS, self._seen.times(user_B, item_BS))
        return Day(day, Visits(user_B, time_B, item_BS, action_BS), slates, place_BS, organic, policy.name)
