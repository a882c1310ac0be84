"""Who the users of a study are: how active, with how long a history, of how many tastes.

Legend: B users · T topics.
"""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from multitudes.batches.held_out import HeldOut, held_out
from multitudes.data.prepared import Prepared, Split
from multitudes.evaluate.segments import COHORT, HISTORY, Segment, user_segments
from multitudes.metrics import diversity

ACTIVITY = {"core": "core", "non-core": "casual", "new": "new"}  # by the name of the cohort


def segments(prepared: Prepared, split: Split, core_days: int) -> pl.DataFrame:
    """Return user_id (as text), activity, history and tastes of every user with targets in ``split``.

    Activity is null in logs that carry order only.
    """
    held = held_out(prepared, split)
    parts = user_segments(prepared, held, split, core_days)
    cohort = parts.get("cohort", Segment(COHORT, np.full(len(held), -1)))
    activity = Segment(tuple(ACTIVITY[name] for name in cohort.names), cohort.label_B)
    return pl.DataFrame(
        {
            "user_id": prepared.user_ids[held.user_B].cast(pl.String),
            "activity": _labels(activity),
            "history": _labels(Segment(HISTORY, parts["history"].label_B)),
            "tastes": thirds(effective_topics(prepared, held)),
        },
        schema=dict.fromkeys(("user_id", "activity", "history", "tastes"), pl.String),
    )


def thirds(value_B: NDArray[np.float64]) -> list[str]:
    """Return for each user the part of the users that it falls into, named by the values at its ends: 2.0-4.1.

    Data sets differ too much for one scale: where items have many topics everybody has many tastes. Equal users stay
    together, so the parts are thirds only roughly.
    """
    edges = np.unique(np.quantile(value_B, [1 / 3, 2 / 3])) if len(value_B) else np.empty(0)
    part_B = np.searchsorted(edges, value_B)
    names = {part: _ends(value_B[part_B == part]) for part in np.unique(part_B).tolist()}
    return [names[part] for part in part_B.tolist()]


def _ends(value_B: NDArray[np.float64]) -> str:
    return f"{value_B.min():.1f}-{value_B.max():.1f}"


def effective_topics(prepared: Prepared, held: HeldOut) -> NDArray[np.float64]:
    """Return exp(entropy) of the topics of each user's history, shape (B,); k equally frequent topics count k."""
    effective_B = np.empty(len(held))
    for b, (user, end) in enumerate(zip(held.user_B, held.end_B, strict=True)):
        item = prepared.event_item[prepared.event_offset[user] : end].astype(np.int64)
        count_1T = diversity.topic_counts(
            np.zeros(len(item), dtype=np.int64),
            item,
            prepared.item_topic_offset,
            prepared.item_topic,
            (1, prepared.n_topics + 1),
        )
        # Rounded: two equal topics are two, whatever the logarithm made of them.
        effective_B[b] = round(float(np.exp(diversity.entropy(count_1T)[0])), 9) if count_1T.any() else 0.0
    return effective_B


def _labels(segment: Segment) -> list[str | None]:
    return [segment.names[label] if label >= 0 else None for label in segment.label_B.tolist()]
