"""Histories in which users return to items at a known gap, and histories in which nobody returns."""

import numpy as np

from tests.evaluation.worlds import prepared

SLOTS, ROUNDS, REGULARS = 7, 8, 3


def planted_gap(folder, users=150, seed=0):
    """Return data, and the item that is due next for each user: it recurs every ``SLOTS`` events.

    Each round has one event of each of three regular items; two further items were regular until the fifth round and
    were then given up; all other events are new to the user. The history ends just before a regular item.
    """
    rng = np.random.default_rng(seed)
    past, future, due = [], [], []
    for user in range(users):
        fresh = iter(range(5 * users + user * SLOTS * ROUNDS + 1, 10**9))
        own = np.arange(5) + 5 * user + 1
        events = []
        for number in range(ROUNDS):
            row = [own[0], own[3], own[1], own[4], own[2], None, None]
            if number >= 5:
                row[1] = row[3] = None
            events += [next(fresh) if item is None else int(item) for item in row]
        cut = (ROUNDS - 1) * SLOTS + 2 * int(rng.integers(REGULARS))
        past.append(events[:cut])
        future.append(events[cut : cut + 1])
        due.append(events[cut])
    return prepared(folder, past, future, topics=[[1]] * max(map(max, past))), np.array(due)


def without_repeats(folder, users=60, repeated=0):
    """Return data whose targets are new to their users, except those of the first ``repeated`` users."""
    past = [[user * 12 + k + 1 for k in range(10)] for user in range(users)]
    future = [[past[user][3] if user < repeated else user * 12 + 11] for user in range(users)]
    return prepared(folder, past, future, topics=[[1]] * (users * 12))
