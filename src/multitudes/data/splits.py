"""Which event is for training, for validation and for testing: three rules, each an SQL expression.

Every rule yields 0 (train), 1 (validation) or 2 (test) for a row of ``placed``, which has number (of the user), time,
place (from 1, in the stable order of the user's events) and total (of the user's events).
"""

from typing import Literal

from multitudes.data.engine import Engine

SplitRule = Literal["time", "user", "leave_one_out"]


def expression(engine: Engine, rule: SplitRule, validation_share: float, test_share: float) -> str:
    """Return the SQL expression of ``rule``; the shares do not matter to leave-one-out.

    * ``time``: two moments, the same for every user, chosen so that the shares hold over all events.
    * ``user``: the last shares of each user's own events; users with fewer than 3 distinct times only train.
    * ``leave_one_out``: the last event is for testing, the one before it for validation; users with fewer than 3
      events only train.

    Events of one time are never parted by ``time`` and ``user``.
    """
    if rule == "time":
        return _by_time(engine, validation_share, test_share)
    if rule == "user":
        _user_cuts(engine, validation_share, test_share)
        cut = "(SELECT max({0}) FROM cut WHERE cut.number = placed.number)"
        test, validation = cut.format("test_from"), cut.format("validation_from")
        return f"CASE WHEN time >= {test} THEN 2 WHEN time >= {validation} THEN 1 ELSE 0 END"
    return "CASE WHEN total < 3 THEN 0 WHEN place = total THEN 2 WHEN place = total - 1 THEN 1 ELSE 0 END"


def _by_time(engine: Engine, validation_share: float, test_share: float) -> str:
    """Return the expression with the times at the quantiles; what happens at a cut belongs to the earlier part."""
    train_until = engine.quantile("placed", "time", 1.0 - validation_share - test_share)
    validation_until = engine.quantile("placed", "time", 1.0 - test_share)
    return f"CASE WHEN time > {validation_until} THEN 2 WHEN time > {train_until} THEN 1 ELSE 0 END"


def _user_cuts(engine: Engine, validation_share: float, test_share: float) -> None:
    """Build ``cut`` (number, validation_from, test_from), counted backwards over each user's distinct times.

    A part takes whole moments until it has its share of the events (at least one), but leaves one moment each to the
    parts before it.
    """
    wanted = "greatest(1, round(total * CAST({0!r} AS DOUBLE)))"
    engine.make(
        "cut",
        f"""
        WITH moment AS (
            SELECT number, time, any_value(total) AS total, min(place) - 1 AS before,
                   row_number() OVER (PARTITION BY number ORDER BY time) AS nth,
                   count(*) OVER (PARTITION BY number) AS moments
            FROM placed GROUP BY number, time
        ), tested AS (
            SELECT *, greatest(3, max(CASE WHEN total - before >= {wanted.format(test_share)} THEN nth END)
                              OVER (PARTITION BY number)) AS test_nth
            FROM moment WHERE moments >= 3
        ), counted AS (
            SELECT *, max(CASE WHEN nth = test_nth THEN before END) OVER (PARTITION BY number) AS before_test
            FROM tested
        ), validated AS (
            SELECT *, greatest(2, max(CASE
                        WHEN nth < test_nth AND before_test - before >= {wanted.format(validation_share)} THEN nth END)
                        OVER (PARTITION BY number)) AS validation_nth
            FROM counted
        )
        SELECT number, max(time) FILTER (nth = test_nth) AS test_from,
               max(time) FILTER (nth = validation_nth) AS validation_from
        FROM validated GROUP BY number""",
    )
