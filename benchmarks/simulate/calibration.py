"""Marginals of histories, by which a world is compared with public data sets.

Events are canonical tables: user_id, item_id, timestamp (seconds); items: item_id, topics.
"""

from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from multitudes.data.timestamps import DAY_S

SHARES = tuple(round(share / 20, 2) for share in range(21))  # of users, for quantiles
TOPS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)  # of items, the most popular first
_SAMPLE_EVENTS = 10  # topics are counted among so many events of a user, so a long history has no more of them


def marginals(events: pl.DataFrame, items: pl.DataFrame) -> dict[str, Any]:
    """Return the marginals of ``events`` as a JSON object; ``days`` is null if the timestamps are only an order."""
    per_user = events.group_by("user_id").len()["len"].to_numpy()
    per_item = np.sort(events.group_by("item_id").len()["len"].to_numpy())[::-1]
    return {
        "events": len(events),
        "users": len(per_user),
        "items": len(per_item),
        "history": _quantiles(per_user),
        "popularity": {str(top): _top_share(per_item, top) for top in TOPS} | {"gini": gini(per_item)},
        "topics": _quantiles(topics_in_ten(events, items)),
        "repeat_share": 1 - events.n_unique(["user_id", "item_id"]) / len(events),
        "days": _days(events),
    }


def gini(count: NDArray[np.integer]) -> float:
    """Return the Gini coefficient of counts: 0 if all are equal, near 1 if one has everything."""
    ascending = np.sort(count).astype(np.float64)
    rank = np.arange(1, len(count) + 1)
    return float(((2 * rank - len(count) - 1) * ascending).sum() / (len(count) * ascending.sum()))


def topics_in_ten(events: pl.DataFrame, items: pl.DataFrame) -> NDArray[np.float64]:
    """Return the expected number of topics among ten events of each user with at least ten events.

    An event of an item with several topics counts for each of them in equal shares.
    """
    long = events.filter(pl.len().over("user_id") >= _SAMPLE_EVENTS).join(
        items.select("item_id", "topics"), on="item_id"
    )
    long = long.with_columns(part=1 / pl.col("topics").list.len()).explode("topics").drop_nulls("topics")
    of_topic = long.group_by("user_id", "topics").agg(pl.col("part").sum())
    share = pl.col("part") / pl.col("part").sum().over("user_id")
    expected = (
        of_topic.with_columns(found=1 - (1 - share) ** _SAMPLE_EVENTS).group_by("user_id").agg(pl.col("found").sum())
    )
    return expected["found"].to_numpy()


def _days(events: pl.DataFrame) -> dict[str, Any] | None:
    """Return active days per 30 days, and events on an active day; None if the timestamps are only an order."""
    timestamp = pl.col("timestamp")
    first, last = events.select(timestamp.min().alias("first"), timestamp.max().alias("last")).row(0)
    if last - first < DAY_S:
        return None
    span = (last - first) / DAY_S
    daily = events.group_by("user_id", pl.col("timestamp") // DAY_S).len()
    per_user = daily.group_by("user_id").agg(days=pl.len(), mean=pl.col("len").mean())
    return {
        "active_in_30": _quantiles(per_user["days"].to_numpy() * 30 / span),
        "events_a_day": _quantiles(per_user["mean"].to_numpy()),
    }


def _quantiles(value: NDArray[Any]) -> dict[str, Any]:
    quantiles = np.quantile(value, (0.1, 0.5, 0.9, 0.99)).tolist() if len(value) else [None] * 4
    curve = np.quantile(value, SHARES).tolist() if len(value) else None
    return dict(zip(("p10", "p50", "p90", "p99"), quantiles, strict=True)) | {"curve": curve}


def _top_share(descending: NDArray[np.integer], top: float) -> float:
    """Return the share of the events on the most popular ``top`` of the items, on at least one item."""
    return float(descending[: max(1, round(top * len(descending)))].sum() / descending.sum())
