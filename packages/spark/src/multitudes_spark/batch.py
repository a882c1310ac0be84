"""Recommend to all users with a Spark cluster: each partition is a stream of Arrow batches.

The release must have the same path on every executor: on a shared file system, or as a copy on each.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from multitudes.batch_inference import columns
from multitudes.batch_inference.recommender import BatchConfig, open_recommender
from multitudes.release.release import Release

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


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
        ArtefactError: nothing is released there, or the release is damaged.
    """
    from pyspark.sql.pandas.types import from_arrow_schema  # noqa: PLC0415 (Spark)

    config = config or BatchConfig()
    opened = Release.open(release)
    function = partial(_recommend_partition, str(opened.path.absolute()), config)
    return users.mapInArrow(function, from_arrow_schema(columns.output_schema(opened, config.vectors, config.explain)))


def _recommend_partition(release: str, config: BatchConfig, batches: Iterator[Any]) -> Iterator[Any]:
    """Recommend to the users of a partition; a worker opens the release once for all its partitions."""
    recommender = open_recommender(release, config)
    for batch in batches:
        yield from recommender.recommend(batch).to_batches()
