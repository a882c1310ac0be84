"""Recommend to all users with a Spark cluster: each partition is a stream of Arrow batches.

The release must have the same path on every executor: on a shared file system, or as a copy on each.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from multitudes.batch_inference import columns
from multitudes.batch_inference.recommender import BatchConfig, open_recommender
from multitudes.errors import missing_add_on
from multitudes.release.release import Release

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

_TYPES = {"int64": "BIGINT", "int32": "INT", "float": "FLOAT", "string": "STRING", "bool": "BOOLEAN"}


def recommend(users: "DataFrame", release: str | Path, config: BatchConfig | None = None) -> "DataFrame":
    """Recommend to the users of a Spark frame.

    Spark repeats a lost partition. An action that writes a complete table, for example Parquet with its committer,
    has every user once.

    Args:
        users: has user_id and, for anonymous users, history and followed_topics; each user once.
        release: the folder of one version, or a folder of releases, of which the current one is chosen now.
        config: settings of the recommendations.

    Returns:
        A lazy frame with one row for each user.

    Raises:
        MissingError: pyspark is not installed.
        ArtefactError: nothing is released there, or the release is damaged.
    """
    try:
        import pyspark  # noqa: F401, PLC0415
    except ImportError:
        raise missing_add_on("the package 'pyspark'", "spark") from None
    config = config or BatchConfig()
    opened = Release.open(release)
    function = partial(_recommend_partition, str(opened.path.absolute()), config)
    return users.mapInArrow(function, ddl(columns.output_schema(opened, config.vectors, config.explain)))


def _recommend_partition(release: str, config: BatchConfig, batches: Iterator[Any]) -> Iterator[Any]:
    """Recommend to the users of a partition; a worker opens the release once for all its partitions."""
    recommender = open_recommender(release, config)
    for batch in batches:
        yield from recommender.recommend(batch).to_batches()


def ddl(arrow_type: Any) -> str:  # noqa: ANN401 (pyarrow has no types)
    """Return an Arrow schema or type in the DDL of Spark."""
    if hasattr(arrow_type, "names") and hasattr(arrow_type, "field") and not hasattr(arrow_type, "id"):
        return ", ".join(f"{name} {ddl(arrow_type.field(name).type)}" for name in arrow_type.names)
    if hasattr(arrow_type, "value_type") and str(arrow_type).startswith("list"):
        return f"ARRAY<{ddl(arrow_type.value_type)}>"
    if str(arrow_type).startswith("struct"):
        fields = (arrow_type.field(i) for i in range(arrow_type.num_fields))
        return f"STRUCT<{', '.join(f'{field.name}: {ddl(field.type)}' for field in fields)}>"
    return _TYPES[str(arrow_type)]
