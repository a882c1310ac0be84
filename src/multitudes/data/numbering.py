"""Numbers in place of names: the SQL that gives a user's events in their final order, and the numbers themselves.

============= ======================================================================================================
action_number action, number (from 1, by name)
item_number   item_id, number (from 1, by id): items with enough training events
============= ======================================================================================================
"""

from collections.abc import Mapping
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from multitudes.data.engine import Engine, double, literal
from multitudes.errors import DataError

Ties = Literal["file", "shuffle"]
MAX_ACTIONS, MAX_ITEMS = 255, 2**31 - 1  # what the arrays' types hold


def actions(engine: Engine) -> list[str]:
    """Build ``action_number`` and return the actions in the order of their numbers.

    Raises:
        DataError: there are more than the arrays can number.
    """
    engine.make("action_number", "SELECT action, row_number() OVER (ORDER BY action) AS number FROM acted")
    found: list[str] = engine.frame("SELECT action FROM action_number ORDER BY number")["action"].to_list()
    if len(found) > MAX_ACTIONS:
        raise DataError(f"column 'action' has {len(found):,} distinct values; expected at most {MAX_ACTIONS}")
    return found


def ordered(ties: Ties, seed: int, positive_actions: Mapping[str, float], min_rating: float | None) -> str:
    """Return the SQL of the events in a total order: by user and time, then by the rule for ties, then by file row.

    Its columns are number (of the user), time, item (among all items; 0 = unknown), action, weight as a positive
    example (0 = it is none), valid, source (topic; 0 = none) and after (the follows are known).
    """
    tie = f"md5_number_lower('{seed}:' || file_row), " if ties == "shuffle" else ""
    return f"""
        SELECT member.number AS number, event.time AS time, event.item AS item, action_number.number AS action,
               {_weight(positive_actions, min_rating)} AS weight, valid, coalesce(topic.number, 0) AS source,
               coalesce(event.time > known_from.time, true) AS after
        FROM event JOIN (SELECT user_id, number FROM member) AS member USING (user_id)
        JOIN action_number USING (action)
        LEFT JOIN topic ON topic.topic = event.source
        LEFT JOIN known_from USING (user_id)
        ORDER BY member.number, event.time, {tie}file_row"""


def items(engine: Engine, trained_I: NDArray[np.int64], min_item_count: int) -> NDArray[np.int32]:
    """Build ``item_number`` and return the number of each of all items; 0 = it has none, as has the unknown item 0.

    Args:
        engine: that has ``known_item``.
        trained_I: how many training events each of them has; that of item 0 is not asked for.
        min_item_count: how many are enough.

    Raises:
        DataError: no item has enough, or more than the arrays can number.
    """
    kept_I = trained_I >= min_item_count
    kept_I[0] = False
    kept = int(kept_I.sum())
    if not 0 < kept <= MAX_ITEMS:
        raise DataError(
            f"{kept:,} items have at least min_item_count = {min_item_count} training events; expected between 1 and"
            f" {MAX_ITEMS:,}. Check that item ids agree between events and items"
        )
    number_I = np.where(kept_I, np.cumsum(kept_I), 0)
    engine.put("kept_item", pl.DataFrame({"item": np.flatnonzero(kept_I), "number": number_I[kept_I]}))
    engine.make("item_number", "SELECT item_id, number FROM known_item JOIN kept_item USING (item)")
    engine.drop("kept_item")
    return number_I.astype(np.int32)


def _weight(positive_actions: Mapping[str, float], min_rating: float | None) -> str:
    never = "negative OR flagged OR NOT known"
    if min_rating is not None:
        never += f" OR coalesce(rating < {double(min_rating)}, false)"
    weight = "1"
    if positive_actions:
        cases = " ".join(f"WHEN {literal(action)} THEN {double(given)}" for action, given in positive_actions.items())
        weight = f"CASE action {cases} ELSE 0 END"
    return f"CAST(CASE WHEN {never} THEN 0 ELSE {weight} END AS FLOAT)"
