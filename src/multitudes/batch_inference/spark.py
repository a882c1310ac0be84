"""The same answers by the executors of a Spark cluster: each partition is a stream of Arrow batches.

The release has to be found at the same path on every executor: a folder that all see, or a copy on each.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from multitudes.batch_inference import columns
from multitudes.batch_inference.recommender import BatchConfig, open_recommender
from multitudes.errors import missing_extra
from multitudes.release.release import Release

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

_TYPES = {"int64": "BIGINT", "int32": "INT", "float": "FLOAT", "string": "STRING", "bool": "BOOLEAN"}


def recommend(users: "DataFrame", release: str | Path, config: BatchConfig | None = None) -> "DataFrame":
    """Return the candidates of every row of ``users``, one row each, as a Spark frame that is computed when it is read.

    Spark does a partition again that was lost, so an action that writes a table whole (as Parquet, by its committer)
    has every user once.

    Args:
        users: ``user_id``, and ``history`` and ``followed_topics`` where somebody is described; each user once.
        release: one version's own folder, or a folder of releases, whose current one is taken now.
        config: what everybody gets.

    Raises:
        MissingError: there is no pyspark.
        ArtefactError: nothing is released there, or the release is damaged.
    """
    try:
        import pyspark  # noqa: F401, PLC0415
    except ImportError:
        raise missing_extra("pyspark", "spark") from None
    config = config or BatchConfig()
    found = Release.open(release)
    answered = partial(_recommend_partition, str(found.path.absolute()), config)
    return users.mapInArrow(answered, ddl(columns.output_schema(found, config.vectors)))


def _recommend_partition(release: str, config: BatchConfig, batches: Iterator[Any]) -> Iterator[Any]:
    """Answer the batches of a partition; a worker opens the release once for all partitions that it gets."""
    answerer = open_recommender(release, config)
    for batch in batches:
        yield from answerer.recommend(batch).to_batches()


def ddl(kind: Any) -> str:  # noqa: ANN401 (pyarrow has no types)
    """Return an Arrow schema, or a type in it, as Spark writes it."""
    if hasattr(kind, "names") and hasattr(kind, "field") and not hasattr(kind, "id"):
        return ", ".join(f"{name} {ddl(kind.field(name).type)}" for name in kind.names)
    if hasattr(kind, "value_type") and str(kind).startswith("list"):
        return f"ARRAY<{ddl(kind.value_type)}>"
    if str(kind).startswith("struct"):
        fields = (kind.field(place) for place in range(kind.num_fields))
        return f"STRUCT<{', '.join(f'{field.name}: {ddl(field.type)}' for field in fields)}>"
    return _TYPES[str(kind)]
