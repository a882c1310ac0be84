"""Recommend to all users with a Spark cluster: each partition is a stream of Arrow batches.

The release must have the same path on every executor: on a shared file system, or as a copy on each.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from multitudes.batch_inference import columns
from multitudes.batch_inference.recommender import BatchConfig, open_recommender
from multitudes.errors import ArtefactError
from multitudes.release.delta_log import delta_log_file, release_identity
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
    folder = opened.path.absolute()
    function = partial(_recommend_partition, str(folder), release_identity(folder), _updates(folder), config)
    return users.mapInArrow(function, from_arrow_schema(columns.output_schema(opened, config.vectors, config.explain)))


def _recommend_partition(
    release: str, identity: str, updates: str, config: BatchConfig, batches: Iterator[Any]
) -> Iterator[Any]:
    """Recommend to the users of a partition; a worker opens the release once for all its partitions.

    Spark keeps workers for the next job, whose release may have the same path: its ``identity`` and ``updates`` tell.
    """
    recommender = open_recommender(release, config, identity + updates)
    if release_identity(Path(release)) != identity:
        raise ArtefactError(f"{release}: is not the release that the driver opened; copy that to every executor")
    for batch in batches:
        yield from recommender.recommend(batch).to_batches()


def _updates(release: Path) -> str:
    """Return what tells the item updates of a release from earlier ones."""
    log = delta_log_file(release)
    return str(log.stat().st_size) if log is not None and log.exists() else ""
