"""The repairs of data: a name and a sentence for each, counted in every report and manifest."""

from collections.abc import Mapping

REPAIRS: Mapping[str, str] = {
    "events_with_nulls": "events without user_id, item_id or timestamp: dropped",
    "duplicate_events": "events equal to another in every column: dropped",
    "repeated_events": "events with an earlier event_id of the same user and item: dropped",
    "future_events": "events more than a day later than now: dropped",
    "unsorted_events": "events earlier than the one above them of the same user: sorted",
    "events_without_action": "events with a null action: kept, as action 'unknown'",
    "events_of_unknown_items": "events of items that the items table lacks: kept, unusable, never a target",
    "unknown_source_interests": "events whose source_interest is no topic of any item: kept, without a source",
    "items_with_nulls": "items without item_id: dropped",
    "duplicate_items": "items equal to another in every column: dropped",
    "items_without_topics": "items without a topic: kept",
    "items_without_features": "items with neither topics nor embedding: kept, unusable in histories",
    "broken_embeddings": "embeddings that hold NaN, infinity or null: taken as missing",
    "users_with_nulls": "users without user_id: dropped",
    "duplicate_users": "users equal to another in every column: dropped",
    "users_not_in_table": "users of events that the users table lacks: kept, follow nothing",
    "users_without_events": "users without any event: kept, known by their followed topics only",
    "users_with_only_invalid_events": "users without a usable event: kept, without implicit interests",
    "follows_of_unknown_topics": "followed topics that no item has: dropped",
}


def repair_text(name: str, count: int, texts: Mapping[str, str] = REPAIRS) -> str:
    """Return a repair with its count, for people; ``texts`` has the sentence of each name."""
    return f"{count:,} {texts[name]}"
