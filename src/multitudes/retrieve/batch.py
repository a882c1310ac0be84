"""Several requests are one batch of the tower, whoever asks; what a user's last answer left is used again.

Legend: B requests · L history · K vectors · C conditions.
"""

from collections.abc import Sequence

import numpy as np

from multitudes.batches.histories import Histories
from multitudes.batches.vectors import UserVectors
from multitudes.release.release import Release
from multitudes.retrieve.cases import Case
from multitudes.retrieve.plan import RetrieveConfig
from multitudes.retrieve.tower import user_vectors
from multitudes.retrieve.wishes import Wishes, conditions


def vectors_of(
    release: Release, cases: Sequence[Case], wishes: Sequence[Wishes], config: RetrieveConfig
) -> UserVectors:
    """Return the vectors of B requests, by as few calls of the tower as it takes: one, or none."""
    rows = {b: case.vectors for b, case in enumerate(cases) if case.vectors is not None}
    missing = [b for b in range(len(cases)) if b not in rows]
    # Where ages count, a history whose times nobody knows is read in another way.
    timed = [cases[b].asked.time_BL is not None or release.manifest.pinnersage is None for b in missing]
    for known in sorted(set(timed)):
        some = [b for b, is_timed in zip(missing, timed, strict=True) if is_timed == known]
        made = _made(release, [cases[b] for b in some], [wishes[b] for b in some], config)
        if len(some) == len(cases):
            return made
        rows |= {b: made.rows(slice(i, i + 1)) for i, b in enumerate(some)}
    return _joined([rows[b] for b in range(len(cases))])


def _made(release: Release, cases: Sequence[Case], wishes: Sequence[Wishes], config: RetrieveConfig) -> UserVectors:
    """Call the tower."""
    asked = [case.asked for case in cases]
    histories = Histories(*map(np.concatenate, zip(*(one.histories for one in asked), strict=True)))
    topic_BC = conditions(
        histories.follow_BF,
        wishes,
        release.manifest.kinds.count("explicit"),
        np.concatenate([one.user_B for one in asked]),
        [case.ask.request for case in cases],
        config,
    )
    times = [one.time_BL for one in asked if one.time_BL is not None]
    return user_vectors(release, histories, topic_BC, np.concatenate(times) if len(times) == len(asked) else None)


def _joined(rows: Sequence[UserVectors]) -> UserVectors:
    """Return the vectors of several users as one."""
    if len(rows) == 1:
        return rows[0]
    arrays = (np.concatenate(arrays) for arrays in zip(*(row[1:] for row in rows), strict=True))
    return UserVectors(rows[0].kinds, *arrays)
