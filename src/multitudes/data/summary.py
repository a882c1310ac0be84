"""The counts that the manifest of a prepared folder holds."""

from multitudes.data.engine import Engine, record, value
from multitudes.data.prepared import SPLIT_CODE

# A target is a positive event of an item in the vocabulary, later than the moment at which the follows are known.
_POSITIVE = "weight > 0 AND after"
_TARGET = f"{_POSITIVE} AND item > 0"
FEW_USERS = 100  # fewer test users give intervals too wide to compare methods


def counts(engine: Engine) -> dict[str, int]:
    """Return how many users, items, topics, events and targets there are, in all and per split."""
    parts = []
    for code, split in enumerate(("train", "validation", "test")):
        within = f"count({{0}}) FILTER (split = {code}{{1}}) AS {split}_{{2}}"
        parts += [
            within.format("*", "", "events"),
            within.format("DISTINCT number", f" AND {_TARGET}", "users"),
            within.format("*", f" AND {_TARGET}", "targets"),
            within.format("*", f" AND {_POSITIVE} AND item = 0", "cold_targets"),
            within.format("*", f" AND {_TARGET} AND tied", "tied_targets"),
        ]
    whole = record(
        engine,
        """
        SELECT (SELECT count(*) FROM member) AS users, (SELECT count(*) FROM item_number) AS items,
               (SELECT count(*) FROM topic) AS topics, (SELECT count(*) FROM follow) AS follows""",
    )
    events = record(
        engine,
        f"""
        SELECT count(*) AS events, count(*) FILTER (weight > 0) AS positives, count(*) FILTER (valid) AS valid_events,
               count(*) FILTER (item = 0 AND known) AS events_of_rare_items, {", ".join(parts)}
        FROM numbered""",
    )
    return {**whole, **events, **_with_history(engine)}


def _with_history(engine: Engine) -> dict[str, int]:
    """Return the users with targets in a part and at least one event before it: those whom a history can help."""
    counted = f"""
        SELECT count(DISTINCT number) FROM numbered
        WHERE split = {{0}} AND {_TARGET} AND number IN (SELECT number FROM numbered WHERE split < {{0}})"""
    return {f"{part}_users_with_history": value(engine, counted.format(code)) for part, code in SPLIT_CODE.items()}


def conditions(engine: Engine) -> dict[str, int]:
    """Return how many training targets have a condition of each kind: the triples (condition, user, item).

    ``source``: the topic that sourced the impression was logged. ``item``: the item has a topic. ``match``: the item
    has a topic that the user follows.
    """
    targets = f"SELECT * FROM numbered WHERE split = 0 AND {_TARGET}"
    return {
        "source": int(value(engine, f"SELECT count(*) FROM ({targets}) WHERE source > 0")),
        "item": int(value(engine, f"SELECT count(*) FROM ({targets}) SEMI JOIN item_topic USING (item_id)")),
        "match": int(
            value(
                engine,
                f"""
            SELECT count(*) FROM ({targets}) SEMI JOIN (
                SELECT DISTINCT member.number, item_id
                FROM (SELECT DISTINCT number, item_id FROM ({targets})) JOIN member USING (number)
                JOIN follow USING (user_id) JOIN item_topic USING (item_id, topic)
            ) USING (number, item_id)""",
            )
        ),
    }


def warnings(counts: dict[str, int], split: str) -> list[str]:
    """Return what a person should know before trusting the split."""
    found = []
    for part in SPLIT_CODE:
        users = counts[f"{part}_users_with_history"]
        if users < FEW_USERS:
            advice = "; the split 'user' keeps more" if split == "time" else ""
            found.append(f"only {users} users have a history and {part} targets (split '{split}'){advice}")
    return found
