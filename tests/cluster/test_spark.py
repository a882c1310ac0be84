"""Spark prepares what DuckDB prepares, byte for byte."""

from typing import Any

import pytest

pytest.importorskip("pyspark", reason="needs the extra [spark]")

from multitudes.data.prepare import PrepareConfig, prepare
from tests.cluster.hostile import differing, write_hostile
from tests.data.tables import NOW

WAYS: dict[str, dict[str, Any]] = {
    "time": {
        "ties": "shuffle",
        "follows_from_share": 0.3,
        "min_rating": 3.0,
        "positive_actions": {"save": 0.1, "it's": 2.5, "": 1},
    },
    "user": {"min_item_count": 3, "validation_share": 0.15},
    "leave_one_out": {"negative_actions": ("hide", "it's")},
}


def both(folder, data, spark, settings, **others):
    """Prepare by both engines and return the files that differ."""
    config = PrepareConfig.model_validate({"threads": 1, **settings})
    prepare(data, folder / "duckdb", config, now=NOW, **others)
    prepare(data, folder / "spark", config, now=NOW, spark=spark, **others)
    return differing(folder / "duckdb", folder / "spark")


@pytest.mark.parametrize("split", WAYS)
def test_hostile_tables_prepare_to_the_same_bytes(tmp_path, spark, split):
    data = write_hostile(tmp_path / "data")
    assert both(tmp_path, data, spark, {"split": split, **WAYS[split]}) == []
