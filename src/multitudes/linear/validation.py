"""The hit rate of a linear model on validation, which chooses its regularisation and the weight of recent items.

As the validation of a trained run: all items are ranked, seen ones are left out, and first-time targets count.

Legend: B users · I items · T targets.
"""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from multitudes.batches.held_out import HeldOut, held_out_users, select_targets, select_users
from multitudes.data.arrays import expand_ranges
from multitudes.data.own_items import positive_items
from multitudes.data.prepared import PreparedData
from multitudes.linear.factors import LinearFactors
from multitudes.linear.history import HistorySums, HistoryWeights
from multitudes.metrics.ranking import target_rows
from multitudes.seeding import generator

CUTOFF: Final = 100  # N of the hit rate
_MAX_USERS: Final = 5_000
_USERS_PER_CHUNK: Final = 256


class Validation(NamedTuple):
    """Users with first-time targets in validation, and what they engaged with before."""

    prepared: PreparedData
    held: HeldOut  # first-time targets alone
    positives: list[NDArray[np.int64]]

    @classmethod
    def sample(cls, prepared: PreparedData) -> "Validation":
        """Return at most ``_MAX_USERS`` users, drawn at random: the first users of a file differ from the others."""
        held = held_out_users(prepared, "validation")
        held = select_targets(held, held.target_is_first_time)
        rows = generator(0, "linear", "validation users").permutation(len(held))[:_MAX_USERS]
        held = select_users(held, rows)
        return cls(prepared, held, positive_items(prepared, held.user_B, held.end_B))

    def hit_rate(self, factors: LinearFactors, recency: float) -> float:
        """Return the share of the targets that are among the ``CUTOFF`` best unseen items of their users.

        A target that ties with the first item beyond the cut-off is a miss, so a user without a vector has no hit.
        """
        held, hits = self.held, 0
        sum_BR = HistorySums(factors.input_IR, HistoryWeights(recency=recency)).user_sums(self.positives)
        without_vector_I = ~factors.output_IR.any(axis=1)
        owner_T = target_rows(held.target_offset)
        for start in range(0, len(held), _USERS_PER_CHUNK):
            users = slice(start, start + _USERS_PER_CHUNK)
            score_BI = sum_BR[users] @ factors.output_IR.T
            row, position = expand_ranges(self.prepared.event_offset[held.user_B[users]], held.end_B[users])
            score_BI[row, self.prepared.event_item[position]] = -np.inf
            score_BI[:, without_vector_I] = -np.inf
            targets = slice(*np.searchsorted(owner_T, [start, start + len(score_BI)]).tolist())
            beyond = max(0, score_BI.shape[1] - 1 - CUTOFF)
            bound_B = np.partition(score_BI, beyond, axis=1)[:, beyond]
            row_T = owner_T[targets] - start
            hits += int((score_BI[row_T, held.target[targets]] > bound_B[row_T]).sum())
        return hits / max(len(held.target), 1)
