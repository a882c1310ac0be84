"""Write the items of a release as a table, for a vector store."""

from itertools import pairwise
from pathlib import Path

import polars as pl

from multitudes.atomic import replace_file
from multitudes.errors import UsageError
from multitudes.index.item_table import select_topics
from multitudes.release.release import Release


def export_items(releases: str | Path, file: Path) -> tuple[str, int]:
    """Write the items of the current release as Parquet: item_id, title, topics, and vector of D float32 numbers.

    Returns:
        The version of the release, and the number of items.

    Raises:
        ArtefactError: nothing is released there, or the release is damaged.
        UsageError: the file has another ending.
    """
    if file.suffix != ".parquet":
        raise UsageError(f"{file}: items and vectors are written as Parquet; give a file name that ends in .parquet")
    release = Release.open(releases)
    item_n, names = release.index.ids(), release.topics
    ids, titles = release.item_names.columns(item_n)
    offset, topic = select_topics(release.item_topic_offset, release.item_topic, item_n)
    topics = [[names[t] for t in topic[first:end]] for first, end in pairwise(offset.tolist())]
    schema: dict[str, pl.DataType] = {"item_id": release.items["item_id"].dtype}
    schema |= {"title": pl.String(), "topics": pl.List(pl.String)}
    table = pl.DataFrame({"item_id": ids, "title": titles, "topics": topics}, schema=schema)
    with replace_file(file) as partial:
        table.with_columns(vector=release.index.vectors(item_n)).write_parquet(partial)
    return release.version, len(table)
