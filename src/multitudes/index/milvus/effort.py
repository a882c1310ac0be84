"""How hard the server searches, as it was tuned when the collection was published."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from multitudes.index.tuning import Tuning, from_record

SHALLOWEST = 100  # fewer results are searched as hard as so many: the vectors of a request go in one call


class TopicEffort(NamedTuple):
    """How the items of a topic are searched that is so common that the graph is weak under its filter."""

    pieces: int  # parts in which the collection is searched, each a scan; 1: by the graph
    more: int  # candidates beyond those of a search without a filter


_AS_EVERYTHING = TopicEffort(1, 0)


@dataclass(frozen=True)
class Effort:
    """Candidates that the graph search keeps (``ef``), by depth and by topic."""

    tuning: Tuning
    topics: dict[int, TopicEffort]

    def of(self, topic: int) -> TopicEffort:
        """Return how a topic is searched."""
        return self.topics.get(topic, _AS_EVERYTHING)

    def candidates(self, topic: int, limit_Q: NDArray[np.int64], excluded: int) -> NDArray[np.int64]:
        """Return the candidates for so many results.

        In the worst case the results begin behind the excluded items, where more is missed than on average: the depth
        is half as much again. Beyond what was tuned each further result takes one candidate more, for the surplus that
        the recall needs does not grow with the depth; and there are never fewer candidates than results before the
        exclusion. (Measured at 100,000 items, 1,000 excluded: 891 candidates find 0.93 of the best 100 behind them.)
        """
        depth_Q = np.maximum(limit_Q, SHALLOWEST) + excluded + excluded // 2
        levels = self.tuning.levels
        place_Q = np.minimum(self.tuning.places(depth_Q), len(levels) - 1)
        effort_Q = np.array([level.effort for level in levels])[place_Q]
        beyond_Q = np.maximum(0, depth_Q - levels[-1].depth)
        return np.asarray(np.maximum(effort_Q + beyond_Q, depth_Q + 1) + self.of(topic).more)

    def record(self) -> dict[str, Any]:
        """Return the same as JSON has it."""
        common = {str(topic): effort._asdict() for topic, effort in self.topics.items()}
        return {**self.tuning.record(), "common_topics": common}


def effort_of(record: dict[str, Any]) -> Effort:
    """Return what ``Effort.record`` returned."""
    common = {int(topic): TopicEffort(**effort) for topic, effort in record["common_topics"].items()}
    return Effort(from_record(record), common)
