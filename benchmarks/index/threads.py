"""Two threads on one index against one: both ask the same requests, each half of them. In a process of its own."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.index.world import DEPTH, World
from benchmarks.timing import Readings, print_progress, rates, round_figure, time_calls
from multitudes.index.factory import load_index

_WARM = 20


def measure(world: str, index: str, engine: str, users: int, rounds: int) -> dict[str, Any]:
    """Return requests per second of one thread and of two, turn by turn, and how many times more two answer.

    Where other processes have the second core, two threads cannot show what they do: ``cpu_times`` is what would be
    left if both cores were free, as long as the threads do not wait for each other; it counts what each costs the
    other by the processor time of the same requests.
    """
    user_BKD, live = World.open(Path(world)).user_BKD[:users], load_index(Path(index))
    progress = print_progress(f"{engine}: threads")

    def ask(chosen: Sequence[int]) -> None:
        for user in chosen:
            live.search(user_BKD[user], DEPTH)

    halves = range(0, users, 2), range(1, users, 2)
    ask(range(min(_WARM, users)))
    one, two = Readings([], []), Readings([], [])
    with ThreadPoolExecutor(2) as pool:
        for turn in range(rounds):
            progress(turn, rounds, "rounds")
            _add(one, time_calls(lambda: ask(range(users)), 1))
            _add(two, time_calls(lambda: list(pool.map(ask, halves)), 1))
    return {
        "one_per_s": rates(one, users),
        "two_per_s": rates(two, users),
        "times": round_figure(median(one.wall) / median(two.wall)),
        "cpu_times": round_figure(2 * median(one.cpu) / median(two.cpu)),
    }


def _add(readings: Readings, more: Readings) -> None:
    readings.wall.extend(more.wall)
    readings.cpu.extend(more.cpu)
