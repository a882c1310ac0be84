"""Events in their final order and with numbers in place of names: the SQL between the sound tables and the arrays.

============= ======================================================================================================
placed        events with number (of the user), place, past, total, tied, after (the follows are known)
dealt         placed with split
item_number   item_id, number (from 1, by id): items with enough training events
action_number action, number (from 1, by name)
numbered      what the event arrays hold, one row per event
============= ======================================================================================================
"""

from collections.abc import Mapping
from typing import Literal

from multitudes.data.engine import Engine, double, literal, value
from multitudes.errors import DataError

Ties = Literal["file", "shuffle"]
MAX_ACTIONS, MAX_ITEMS = 255, 2**31 - 1  # what the arrays' types hold


def place(engine: Engine, ties: Ties, seed: int) -> None:
    """Build ``placed``: a total order of each user's events, by time, then by the rule for ties, then by file row."""
    tie = f"md5_number_lower('{seed}:' || file_row)" if ties == "shuffle" else "0"
    engine.make(
        "placed",
        f"""
        SELECT * EXCLUDE (tie, file_row), row_number() OVER stable AS place,
               coalesce(lag(time) OVER stable = time, false) OR coalesce(lead(time) OVER stable = time, false) AS tied,
               rank() OVER (PARTITION BY number ORDER BY time) - 1 AS past,
               count(*) OVER (PARTITION BY number) AS total
        FROM (
            SELECT member.number, item_id, event.time, action, rating, source, known,
                   negative, flagged, valid, file_row, {tie} AS tie,
                   coalesce(event.time > known_from.time, true) AS after
            FROM event JOIN member USING (user_id) LEFT JOIN known_from USING (user_id)
        )
        WINDOW stable AS (PARTITION BY number ORDER BY time, tie, file_row)""",
    )


def deal(engine: Engine, split: str) -> None:
    """Build ``dealt`` with the expression of a rule in ``splits``."""
    engine.view("dealt", f"SELECT *, {split} AS split FROM placed")


def name(engine: Engine, min_item_count: int) -> list[str]:
    """Build ``item_number`` and ``action_number`` and return the actions in the order of their numbers.

    Raises:
        DataError: there are more items or actions than the arrays can number, or no item is left.
    """
    engine.make(
        "item_number",
        f"""
        SELECT item_id, row_number() OVER (ORDER BY item_id) AS number
        FROM item LEFT JOIN (SELECT item_id, count(*) AS n FROM dealt WHERE split = 0 GROUP BY item_id) USING (item_id)
        WHERE coalesce(n, 0) >= {min_item_count}""",
    )
    items = value(engine, "SELECT count(*) FROM item_number")
    if not 0 < items <= MAX_ITEMS:
        raise DataError(
            f"{items:,} items have at least min_item_count = {min_item_count} training events; expected between 1 and"
            f" {MAX_ITEMS:,}. Check that item ids agree between events and items"
        )
    engine.make(
        "action_number",
        """
        SELECT action, row_number() OVER (ORDER BY action) AS number FROM (SELECT DISTINCT action FROM placed)""",
    )
    actions: list[str] = engine.frame("SELECT action FROM action_number ORDER BY number")["action"].to_list()
    if len(actions) > MAX_ACTIONS:
        raise DataError(f"column 'action' has {len(actions):,} distinct values; expected at most {MAX_ACTIONS}")
    return actions


def number(engine: Engine, positive_actions: Mapping[str, float], min_rating: float | None) -> None:
    """Build ``numbered``, with each event's weight as a positive example (0 = it is none)."""
    engine.make(
        "numbered",
        f"""
        SELECT *, weight > 0
               AND row_number() OVER (PARTITION BY number, item_id, weight > 0 ORDER BY place) = 1 AS first
        FROM (
            SELECT dealt.number, place, item_id, coalesce(item_number.number, 0) AS item, time,
                   action_number.number AS action, {_weight(positive_actions, min_rating)} AS weight, valid, split,
                   past, coalesce(topic.number, 0) AS source, after, tied, known
            FROM dealt JOIN action_number USING (action)
            LEFT JOIN item_number USING (item_id)
            LEFT JOIN topic ON topic.topic = source
        )""",
    )


def _weight(positive_actions: Mapping[str, float], min_rating: float | None) -> str:
    never = "negative OR flagged OR NOT known"
    if min_rating is not None:
        never += f" OR coalesce(rating < {double(min_rating)}, false)"
    weight = "1"
    if positive_actions:
        cases = " ".join(f"WHEN {literal(action)} THEN {double(given)}" for action, given in positive_actions.items())
        weight = f"CASE action {cases} ELSE 0 END"
    return f"CAST(CASE WHEN {never} THEN 0 ELSE {weight} END AS FLOAT)"
