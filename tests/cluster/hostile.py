"""Tables with everything that two engines could take differently, and comparison of what was prepared of them."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

IDS = [
    "007",
    "7",
    "0",
    "-1",
    "é",
    "e\u0301",
    "Ω",
    "雪",
    "🦊",
    "a'b",
    'a"b',
    "a\\b",
    "a b",
    " ",
    "",
    "%41",
    "A",
    "a",
    "NULL",
]
NAN, INF = float("nan"), float("inf")


def write_hostile(folder: Path, events: int = 400, seed: int = 0, parts: int = 3) -> Path:
    """Write tables: ties, copies, nulls, resent events, odd ids and one-event users; events in ``parts`` files."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    table = _events(rng, events)
    table = pl.concat([table, table.sample(events // 8, seed=seed), _alone()])
    (folder / "events").mkdir()
    for part in range(parts):
        name = ("b part", "a%20part", "c")[part % 3] + f"-{part}.parquet"
        table[part * len(table) // parts : (part + 1) * len(table) // parts].write_parquet(folder / "events" / name)
    _items(rng).write_parquet(folder / "items.parquet")
    _users(rng).write_parquet(folder / "users.parquet")
    return folder


def differing(one: Path, other: Path) -> list[str]:
    """Return the names of the files that are not byte for byte the same in both folders, or only in one of them."""
    names = {file.name for folder in (one, other) for file in folder.iterdir()}
    return sorted(
        name
        for name in names
        if not all((folder / name).is_file() for folder in (one, other))
        or (one / name).read_bytes() != (other / name).read_bytes()
    )


def _events(rng: np.random.Generator, rows: int) -> pl.DataFrame:
    def some(values: list[Any], nulls: float) -> list[Any]:
        return [None if rng.random() < nulls else values[rng.integers(len(values))] for _ in range(rows)]

    return pl.DataFrame(
        {
            "user_id": some(IDS, 0.02),
            "item_id": some([*IDS, "not in the table"], 0.02),
            "timestamp": some([*range(1_000_000, 1_000_040), 3_000_000_000], 0.02),
            "action": some(["save", "hide", "", "it's", "UNKNOWN"], 0.1),
            "rating": some([1.0, 2.9999999999999996, 3.0, 0.1, -0.0, NAN, INF], 0.2),
            "source_interest": some(["art", "sea's", "jazz", ""], 0.5),
            "valid": some([True, True, True, False], 0.3),
            "event_id": some([f"e{n}" for n in range(rows * 2)], 0.3),
            "odd 'na\"me": some(["x", "y\n", None], 0.3),
        },
        schema_overrides={"user_id": pl.String, "timestamp": pl.Int64},
    )


def _alone() -> pl.DataFrame:
    """Return the only event of some users, who are in no other table."""
    rows = [(f"alone {n}", IDS[n], 1_000_020, "save", None, None, None, None, None) for n in range(5)]
    return pl.DataFrame(rows, schema=_events(np.random.default_rng(0), 1).schema, orient="row")


def _items(rng: np.random.Generator) -> pl.DataFrame:
    topics = [["art"], ["sea's", "art", "art", ""], [], None, ["", None], ["雪", "A", "a", "é"]]
    vectors = [[1.0, -2.0], None, [NAN, 0.0], [INF, 1.0], [None, 1.0], [], [0.1, 3e38]]
    return (
        pl.DataFrame(
            {
                "item_id": [*IDS, IDS[0], None],
                "topics": [*(topics[n % len(topics)] for n in range(len(IDS))), topics[0], None],
                "title": [*(f"title {n}" if n % 3 else None for n in range(len(IDS))), None, "none"],
                "embedding": [*(vectors[n % len(vectors)] for n in range(len(IDS))), vectors[0], None],
                "price": [*rng.integers(0, 9, len(IDS)).tolist(), None, None],
                "kind": [*(f"k'{n % 4}" for n in range(len(IDS))), None, None],
            },
            schema_overrides={"embedding": pl.List(pl.Float32), "topics": pl.List(pl.String)},
        )
        .with_columns(pl.when(pl.int_range(pl.len()) == 0).then(None).otherwise("price").alias("price"))
        .with_columns(
            pl.when(pl.int_range(pl.len()) == 0).then(None).otherwise("kind").alias("kind"),
            pl.when(pl.int_range(pl.len()) == 0).then(None).otherwise("title").alias("title"),
        )
    )


def _users(rng: np.random.Generator) -> pl.DataFrame:
    ids = [*IDS[::2], "follows but does nothing", "é", None]
    follows = [["art", "jazz"], [], None, ["雪", "a", "A", "art", "art", ""]]
    rows = [follows[n % len(follows)] for n in range(len(ids))]
    rows[ids.index("é", ids.index("é") + 1)] = rows[ids.index("é")]  # a copy, in every column
    return pl.DataFrame(
        {"user_id": ids, "followed_topics": rows}, schema_overrides={"followed_topics": pl.List(pl.String)}
    )
